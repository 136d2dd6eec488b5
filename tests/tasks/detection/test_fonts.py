# SPDX-License-Identifier: Apache-2.0
"""Names of classes in pictures: every alphabet legible or replaced, long and odd names made short and plain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import Prediction, fonts
from ldie.tasks.detection.fonts import font_for, legible_names, shortened
from ldie.tasks.detection.visualization import draw_prediction
from PIL import ImageDraw

PERSON, DOG = "\u4eba", "\u72ac"


def forget() -> None:
    for cached in (fonts._legible_names, fonts._font_with, fonts._characters):
        cached.cache_clear()


@pytest.fixture
def only_matplotlibs_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No font of this machine."""
    from matplotlib.font_manager import fontManager

    bundled = [font for font in fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", bundled)
    forget()
    yield
    forget()


@pytest.fixture
def install(only_matplotlibs_fonts: None, tmp_path: Path) -> Callable[[str], Path]:
    """Installs a font whose letters are squares of different sizes."""
    builders = pytest.importorskip("fontTools.fontBuilder")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")
    from matplotlib.font_manager import fontManager

    def square(side: int) -> object:
        pen = pens.TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, side), (side, side), (side, 0)):
            pen.lineTo(corner)
        pen.closePath()
        return pen.glyph()

    def build(letters: str) -> Path:
        names = {ord(letter): f"glyph{i}" for i, letter in enumerate(letters)}
        glyphs = {name: square(300 + 200 * (i % 4)) for i, name in enumerate(names.values())}
        builder = builders.FontBuilder(1000, isTTF=True)
        builder.setupGlyphOrder([".notdef", *glyphs])
        builder.setupCharacterMap(names)
        builder.setupGlyf({".notdef": square(100), **glyphs})
        builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *glyphs], (1000, 0)))
        builder.setupHorizontalHeader(ascent=900, descent=-200)
        builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        path = tmp_path / f"squares{len(letters)}.ttf"
        builder.save(path)
        fontManager.addfont(path)
        forget()
        return path

    return build


def picture(name: str) -> np.ndarray:
    image = torch.full((3, 96, 400), 128, dtype=torch.uint8)
    box = torch.tensor([[20.0, 40.0, 380.0, 90.0]])
    found = Prediction(box, torch.ones(1), torch.zeros(1, dtype=torch.int64), None, None, (96, 400))
    return np.asarray(draw_prediction(image, found, [name]))


@pytest.mark.parametrize(
    ("first", "second"),
    [("кот", "пёс"), ("é", "ü"), ("λύκος", "σκύλος"), ("ł", "ş"), ("ệ", "ồ"), ("חתול", "כלב"), ("قط", "كلب")],
)
def test_names_of_other_alphabets_are_drawn_and_differ(
    first: str, second: str, only_matplotlibs_fonts: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert legible_names([first, second]) == (first, second)
    assert (picture(first) != picture(second)).any()
    assert not caplog.records


def test_a_name_that_no_font_can_draw_is_its_number_and_said_once(
    only_matplotlibs_fonts: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ldie"):
        for _ in range(3):
            assert legible_names(["cat", PERSON, f"a {DOG}", "dog"]) == ("cat", "class 1", "class 2", "dog")
        assert (picture(PERSON) == picture("class 0")).all()
    assert len(caplog.records) == 2
    assert f"{PERSON}, a {DOG}: pictures show their numbers" in caplog.messages[0]
    assert "install" in caplog.messages[0] and "Noto Sans CJK" in caplog.messages[0]


def test_a_name_is_drawn_with_an_installed_font_that_has_its_letters(
    install: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    install(PERSON)  # without digits for the score
    assert legible_names([PERSON]) == ("class 0",)
    caplog.clear()
    path = install(PERSON + DOG + "".join(sorted(fonts._BESIDE_NAMES)))
    assert legible_names([PERSON, DOG, "cat"]) == (PERSON, DOG, "cat")
    assert font_for(f"{DOG} 0.93", 12).path == str(path)
    assert Path(font_for("cat 0.93", 12).path).name == "DejaVuSans.ttf"
    assert (picture(PERSON) != picture(DOG)).any() and not caplog.records


def test_a_damaged_font_is_passed_over(install: Callable[[str], Path]) -> None:
    install(PERSON + "".join(sorted(fonts._BESIDE_NAMES))).write_bytes(b"no font")
    forget()
    assert legible_names([PERSON]) == ("class 0",)


@pytest.mark.parametrize(
    ("name", "legible"),
    [
        ("traffic\nlight", "traffic light"),
        (" a\t\tb\r\n", "a b"),
        ("a\0b\x1b[31m", "a b [31m"),
        ("e\u0301", "é"),
        ("\u202eabc", "abc"),  # would turn the text around
        ("\ud800", "class 0"),
        ("", "class 0"),
        ("\n\u200b", "class 0"),
    ],
)
def test_odd_names_are_made_plain(name: str, legible: str) -> None:
    assert legible_names([name]) == (legible,)
    assert (picture(name) == picture(legible)).all()


def test_long_names_keep_their_beginning_and_end() -> None:
    (name,) = legible_names(["first" + "x" * 5000 + "last"])
    assert name.startswith("first") and name.endswith("last") and len(name) == 40 and "…" in name
    assert [shortened("abcdefghij", n) for n in (20, 10, 7, 2, 1, 0)] == [
        "abcdefghij",
        "abcdefghij",
        "abcd…ij",
        "a…",
        "…",
        "…",
    ]


def test_a_name_is_shortened_to_the_width_of_the_picture_and_its_score_stays(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, **options: drawn.append((place, text)))
    thin = torch.full((3, 2000, 96), 128, dtype=torch.uint8)
    box = torch.tensor([[5.0, 100.0, 90.0, 200.0]])
    found = Prediction(box, torch.ones(1), torch.zeros(1, dtype=torch.int64), None, None, (2000, 96))
    assert draw_prediction(thin, found, ["a class with a long name"]).size == (96, 2000)
    (((x, _), text),) = drawn
    assert text.startswith("a c") and text.endswith("e 1.00") and "…" in text
    assert x >= 0 and x + font_for(text, 12).getlength(text) <= 96
