# SPDX-License-Identifier: Apache-2.0
"""Input images that published data sets have on both sides of a split, and splits that have none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from ldie.errors import ConfigError, DataError
from ldie.files import first_line, is_file, scratch_folder
from ldie.tasks.editing.published import fivek, gier
from ldie.tasks.editing.published.gier_modes import rows_of, valid_list
from ldie.tasks.editing.published.pairs import (
    IMAGES,
    SPLITS,
    SplitFile,
    image_name,
    is_gif,
    is_split_there,
    read_records,
)
from ldie.tasks.editing.synedit.draws import Draws

RATIOS = (0.8, 0.1, 0.1)
REPORT = "leakage.json"
Records: TypeAlias = Mapping[str, Sequence[dict[str, Any]]]
"""By split, as their files have them."""
Place: TypeAlias = tuple[str, int]
"""A record: its split and its row in the split's file."""
_PAIR = ("input", "output")
_MODES = ("full", "global", "shapeAlign", "global+shapeAlign")


@dataclass(frozen=True)
class Leakage:
    """How many pairs of a split and a mode have the input image of a training pair."""

    split: str
    mode: str
    pairs: int
    shared: int
    """Of these, those whose input image a training pair of any mode has, by the content of the files."""


class PublishedSplits:
    """The files of a data set's splits: MA5k-Req's or GIER's, whichever the folder has.

    Args:
        root: The data set's folder.
        splits: Where other files of its splits are; None: its own.

    Raises:
        DataError: The folder is of neither data set, or a file cannot be read.
    """

    def __init__(self, root: str | Path, splits: str | Path | None = None) -> None:
        self.root, self._splits = Path(root), splits
        self._file: SplitFile = self._layout()
        self.records: Records = {split: read_records(self.path(split)) for split in SPLITS}
        self._contents: dict[str, str] = {}

    def path(self, split: str) -> Path:
        """The file of a split."""
        return self._file(self.root, split, self._splits)

    def leakage(self) -> list[Leakage]:
        """What validation and test share with training, for each mode that the data set has.

        Raises:
            DataError: A picture is missing.
        """
        known = {self.content(record, "train", row) for row, record in enumerate(self.records["train"])}
        found = []
        for split in SPLITS[1:]:
            for mode in self.modes(split):
                rows = self.rows(split, mode)
                shared = sum(self.content(self.records[split][row], split, row) in known for row in rows)
                found.append(Leakage(split, mode, len(rows), shared))
        return found

    def modes(self, split: str) -> tuple[str, ...]:
        """The modes that a split can be read in."""
        if self._file is fivek.split_file:
            return _MODES[:1]
        return (*_MODES, "valid") if is_file(valid_list(self.path(split))) else _MODES

    def rows(self, split: str, mode: str) -> list[int]:
        """Rows of a split's pairs in a mode, without those that readers leave out for a .gif."""
        records, path = self.records[split], self.path(split)
        rows = range(len(records)) if mode == "full" else rows_of(mode, records, path, self.root)
        return [row for row in rows if not is_gif(*(image_name(records[row], key, path, row) for key in _PAIR))]

    def content(self, record: Mapping[str, Any], split: str, row: int) -> str:
        """A hash of the input's file, so that one picture under two names is one."""
        name = image_name(record, "input", self.path(split), row)
        if name not in self._contents:
            path = self.root / IMAGES / name
            try:
                self._contents[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror}); restore the image") from error
        return self._contents[name]

    def _layout(self) -> SplitFile:
        known: tuple[SplitFile, ...] = (fivek.split_file, gier.split_file)
        there = [each for each in known if is_split_there(each, self.root, self._splits)]
        if not there:
            files = " nor ".join(str(each(self.root, SPLITS[0], self._splits)) for each in known)
            raise DataError(f"{self.root}: neither {files} is there; give a folder of MA5k-Req or GIER")
        return there[0]


def leak_free(
    splits: PublishedSplits, seed: int = 0, ratios: Sequence[float] = RATIOS
) -> dict[str, list[tuple[str, int]]]:
    """Which record goes where, so that all records of an input image go to one split.

    Input images, told apart by content, are put in random order and cut by the ratios; records stay in the order that
    they have now.

    Args:
        splits: Where they are now.
        seed: Of the order.
        ratios: Parts of the images for train, val and test; they add up to 1.

    Returns:
        For each split the records, by the split that they are in now and their row there.

    Raises:
        ConfigError: Other ratios; or images so few that a split would have none.
        DataError: A picture is missing.
    """
    if len(ratios) != len(SPLITS) or min(ratios) < 0 or not abs(sum(ratios) - 1) < 1e-6:
        raise ConfigError(f"ratios must be {len(SPLITS)} numbers of at least 0 that add up to 1, got {list(ratios)}")
    contents = {
        (split, row): splits.content(record, split, row)
        for split, records in splits.records.items()
        for row, record in enumerate(records)
    }
    images = sorted(set(contents.values()))  # by their hashes: the order of records and names of files do not matter
    order = Draws(seed).sample(images, len(images))
    bounds = [round(sum(ratios[:count]) * len(order)) for count in range(len(SPLITS) + 1)]
    parts = dict(zip(SPLITS, (set(order[a:b]) for a, b in pairwise(bounds)), strict=True))
    for (split, part), ratio in zip(parts.items(), ratios, strict=True):
        if ratio and not part:
            raise ConfigError(f"ratios leave no image of {len(order)} for {split}; give it a larger part")
    return {split: [place for place, content in contents.items() if content in part] for split, part in parts.items()}


def write_leak_free(
    root: str | Path, out: str | Path, seed: int = 0, ratios: Sequence[float] = RATIOS
) -> tuple[list[Leakage], list[Leakage]]:
    """Writes a leak-free split's files, which the readers take as ``splits``, and ``leakage.json``: all or nothing.

    The list of GIER's ``valid`` pairs is written for the new files where it is there for all of the old.

    Args:
        root: The data set's folder; its pictures stay where they are.
        out: A folder that is new or empty.
        seed: See :func:`leak_free`, as for ``ratios``.
        ratios: As above.

    Returns:
        What the published split shares, and what the new one does: nothing.

    Raises:
        DataError: The data cannot be read, or ``out`` cannot be written or is not empty.
        ConfigError: Ratios that cannot be.
    """
    published, out = PublishedSplits(root), Path(out)
    try:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise DataError(f"{out}: exists already; remove it or choose another folder")
        before, places = published.leakage(), leak_free(published, seed, ratios)
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out) as scratch:
            staged = scratch / "new"
            staged.mkdir()
            _write_records(published, places, staged)
            after = PublishedSplits(root, staged).leakage()
            report = {"seed": seed, "ratios": list(ratios), "published": before, "leak_free": after}
            (staged / REPORT).write_text(json.dumps(report, indent=1, default=asdict), encoding="utf-8")
            staged.rename(out)
    except OSError as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{out}: cannot be written ({reason}); free space or choose another folder") from error
    return before, after


def _write_records(published: PublishedSplits, places: Mapping[str, list[Place]], folder: Path) -> None:
    valid = None
    if all("valid" in published.modes(split) for split in SPLITS):
        valid = {(split, row) for split in SPLITS for row in published.rows(split, "valid")}
    for split, chosen in places.items():
        path = folder / published.path(split).name
        records = [published.records[old][row] for old, row in chosen]
        path.write_text(json.dumps(records), encoding="utf-8")
        if valid is not None:
            rows = [row for row, place in enumerate(chosen) if place in valid]
            valid_list(path).write_text(json.dumps(rows), encoding="utf-8")
