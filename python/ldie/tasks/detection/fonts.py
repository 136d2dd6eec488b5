# SPDX-License-Identifier: Apache-2.0
"""Names of classes as text that a font here can draw."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from ldie.errors import short

logger = logging.getLogger("ldie")
_LONGEST = 40
"""Characters of a name that are drawn at most."""
_BESIDE_NAMES = frozenset(" .0123456789()crowd…")
"""What a font needs for the text after a name."""


def legible_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as one can read them in a picture.

    Control characters and line breaks become spaces, long names are shortened in the middle. A name with a letter that
    no installed font has is replaced by ``class 3``, its label; a warning then says which font to install.
    """
    return _legible_names(tuple(names))


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that has the characters of a text; DejaVu Sans, which comes with matplotlib, where it can."""
    return _open(_font_with(frozenset(text)) or _base_font(), size)


def shortened(text: str, length: int) -> str:
    """A text of at most ``length`` characters (or 1), which keeps its beginning and its end."""
    if len(text) <= length:
        return text
    kept = max(length, 1) - 1
    return text[: kept - kept // 3] + "…" + text[len(text) - kept // 3 :]


@lru_cache(maxsize=16)  # a warning for each list of names, not for each picture
def _legible_names(names: tuple[str, ...]) -> tuple[str, ...]:
    cleaned = [_clean(name) for name in names]
    unreadable = {i for i, name in enumerate(cleaned) if not name or _font_with(_BESIDE_NAMES.union(name)) is None}
    without_font = [cleaned[i] for i in sorted(unreadable) if cleaned[i]]
    if without_font:
        logger.warning(
            "no installed font has all letters of the class names %s: pictures show their numbers instead; "
            "install one that has, for instance Noto Sans CJK for Chinese, Japanese and Korean",
            short(without_font),
        )
    return tuple(f"class {i}" if i in unreadable else name for i, name in enumerate(cleaned))


def _clean(name: str) -> str:
    """Letters joined with their accents; what has no shape of its own left out or a space."""
    visible = (
        "" if unicodedata.category(c) == "Cf" else " " if unicodedata.category(c)[0] in "CZ" else c
        for c in unicodedata.normalize("NFC", name)
    )
    return shortened(" ".join("".join(visible).split()), _LONGEST)


@lru_cache(maxsize=1024)
def _font_with(characters: frozenset[str]) -> str | None:
    """The file of the first font that has all of some characters; None if there is none."""
    if characters <= _characters(_base_font()):
        return _base_font()
    return next((path for path in _system_fonts() if characters <= _characters(path)), None)


def _base_font() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


def _system_fonts() -> Iterable[str]:
    """Files of upright fonts of regular weight, those without serifs first."""
    from matplotlib.font_manager import fontManager

    upright = [font for font in fontManager.ttflist if font.style == "normal" and str(font.weight) in ("400", "normal")]
    # The last resort fonts have a placeholder for every character.
    files = {font.fname: "sans" not in font.name.lower() for font in upright if "last resort" not in font.name.lower()}
    return sorted(files, key=lambda file: (files[file], file))


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[str]:
    """What a font file can draw; nothing if it cannot be used, as colour fonts of one size."""
    from matplotlib.ft2font import FT2Font

    try:
        _open(path, 13)
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@lru_cache(maxsize=32)
def _open(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
