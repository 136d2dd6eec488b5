# SPDX-License-Identifier: Apache-2.0
"""Which pairs of GIER a mode takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ldie.errors import ConfigError, DataError
from ldie.tasks.detection.annotations import brief, read_json
from ldie.tasks.detection.images import image_sizes
from ldie.tasks.editing.published.pairs import IMAGES, image_name, is_gif

Records: TypeAlias = Sequence[dict[str, Any]]
LOCAL = ("inpaint_obj", "color_bg")
"""Operators that make a pair not ``global``."""
VALID = "Ids_L1Thr_0.06"
"""In the name of the lists of ``valid`` pairs."""


def rows_of(mode: str, records: Records, path: Path, root: Path) -> list[int]:
    """Rows of a split's records in ascending order: those that each of some modes takes, joined by ``+``.

    ``full``: all. ``global``: without ``inpaint_obj`` and ``color_bg``. ``shapeAlign``: input and output have one size.
    ``valid``: near to each other (mean difference up to .06), by the published list beside the records, which names the
    first pair with each input only. The published lists of ``global`` and ``shapeAlign`` are not read: they follow from
    records and images. ``shapeAlignNonCrop`` is refused: the published lists are not what their name says.

    Args:
        mode: Such as ``global+shapeAlign``.
        records: Of the split.
        path: Their file.
        root: The data set's folder, whose ``images/`` has the pictures.

    Raises:
        ConfigError: An unknown mode.
        DataError: The list of ``valid`` cannot be read or is of other records, or a picture cannot be read.
    """
    taken = set(range(len(records)))
    for name in mode.split("+"):
        if name.replace("_", "").lower() == "shapealignnoncrop":
            raise ConfigError(
                f"mode {name} is refused: its published lists lack pairs of equal size that they should have, so no "
                "rule gives them; take shapeAlign"
            )
        if name not in MODES:
            raise ConfigError(f"mode must be some of {', '.join(MODES)}, joined by +, got {mode!r}")
        taken &= set(MODES[name](records, path, root))
    return sorted(taken)


def valid_list(path: Path) -> Path:
    """Where the rows of a split's ``valid`` pairs are, given the file of its records."""
    split, _, session = path.name.partition("_")
    return path.with_name(f"{split}_{VALID}_{session}")


def _full(records: Records, path: Path, root: Path) -> list[int]:
    return list(range(len(records)))


def _global(records: Records, path: Path, root: Path) -> list[int]:
    return [row for row, record in enumerate(records) if not _has_local(record.get("operator"))]


def _has_local(operators: Any) -> bool:
    return isinstance(operators, dict) and any(name in operators for name in LOCAL)


def _same_size(records: Records, path: Path, root: Path) -> list[int]:
    sizes: dict[str, tuple[int, int]] = {}

    def size(name: str) -> tuple[int, int]:
        if name not in sizes:
            sizes[name] = image_sizes(root / IMAGES / name)[0]
        return sizes[name]

    pairs = [[image_name(record, key, path, row) for key in ("input", "output")] for row, record in enumerate(records)]
    return [row for row, names in enumerate(pairs) if is_gif(*names) or size(names[0]) == size(names[1])]


def _valid(records: Records, path: Path, root: Path) -> list[int]:
    file = valid_list(path)
    rows = read_json(file)
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < len(records) for row in rows):
        raise DataError(
            f"{file}: expected a list of rows below {len(records)}, of the records in {path.name}, got {brief(rows)}; "
            "give the list that came with them"
        )
    return rows


MODES: dict[str, Callable[[Records, Path, Path], list[int]]] = {
    "full": _full,
    "global": _global,
    "shapeAlign": _same_size,
    "valid": _valid,
}
