# SPDX-License-Identifier: Apache-2.0
"""Published pairs of pictures with requests, whatever file they came in: what is common to reading them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldie.errors import ConfigError, DataError, short
from ldie.files import first_line, is_file, is_folder
from ldie.tasks.detection.annotations import brief, read_json
from ldie.tasks.detection.images import read_image
from ldie.tasks.editing.published.plans import Pair, Plans
from ldie.tasks.editing.sample import EditSample
from ldie_ext import EditOp
from ldie_ext.ops.editing.regions import check_aspect, nearest_pixels

logger = logging.getLogger("ldie")

SPLITS = ("train", "val", "test")
IMAGES = "images"
SplitFile: TypeAlias = "Callable[[Path, str, str | Path | None], Path]"
"""Gives the file of a split, of a data set's folder and where other files of its splits are, or None."""
TRAINING_SIZE = 128
"""Pixels along each side of the pictures that the published models learnt from."""


@dataclass(frozen=True)
class PairRecord:
    """A pair of pictures, and what people say of it."""

    number: int
    """In the split's file, from 0 on."""
    input: str
    output: str
    """Names of files in the data set's folder of images."""
    requests: tuple[str, ...]
    operators: frozenset[str] = frozenset()
    """See :attr:`ldie.tasks.editing.sample.EditSample.operators`."""
    places: tuple[Place, ...] = ()
    """Where its operators act; none: everywhere."""


@dataclass(frozen=True)
class Place:
    """Where an operator acts."""

    masks: tuple[int, ...]
    """Numbers of the input's masks; together they are one region."""
    exclusive: bool = False
    """Whether it acts outside of that region."""


class PublishedPairs(Dataset[EditSample]):
    """Requests, each with its pair of pictures; a sample is a request, and a pair has as many as it has requests.

    Pictures are RGB whatever their files are, and upright. A target of another size than its source is resized to it.

    Args:
        root: The data set's folder, with ``images/``.
        origin: A name for messages.
        records: The pairs, each with a request at least.
        size: Pixels along each side to resize all pictures to, whatever their aspect, as the published models were
            trained; None: pictures stay as they are.
        plans: Steps to learn from, one plan for each pair; the samples of a pair have the same. None: no steps.

    Raises:
        DataError: There are no records, pictures are missing, or pairs have no plan.
        ConfigError: ``size`` below 1.
    """

    def __init__(
        self, root: Path, origin: str, records: Sequence[PairRecord], size: int | None, plans: Plans | None
    ) -> None:
        if size is not None and size < 1:
            raise ConfigError(f"size must be at least 1, or None for pictures as they are, got {size}")
        if not records:
            raise DataError(f"{origin}: has no pairs; give another file, split or mode")
        self.root, self.origin, self.records, self.size, self.plans = root, origin, tuple(records), size, plans
        _check_images(root / IMAGES, self.records, origin)
        if plans is not None:
            plans.check((record.input, record.output) for record in self.records)
        self._index = [(row, n) for row, record in enumerate(self.records) for n in range(len(record.requests))]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> EditSample:
        """The sample, read from the files.

        Raises:
            IndexError: There is none of this number.
            DataError: A file cannot be read, or a mask has another aspect than its picture.
        """
        row, number = self._index[index]
        record = self.records[row]
        source, target, region = self.read_pair(row)
        steps = None if self.plans is None else self.plans.steps(record.input, record.output)
        return EditSample(
            f"{Path(record.output).stem}-{record.number}-{number}",
            source,
            record.requests[number],
            target,
            region,
            steps,
            record.operators,
        )

    def requests(self) -> Iterator[str]:
        """All requests, in the order of the samples; no picture is opened."""
        return (request for record in self.records for request in record.requests)

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of ``EditOp``, in its order: those in the plans' steps, or, without plans, that annotators name."""
        if self.plans is not None:
            used = self.plans.operators((record.input, record.output) for record in self.records)
        else:
            used = {name for record in self.records for name in record.operators}
        return tuple(op.name for op in EditOp if op.name in used)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all operators that annotators name: those of ``EditOp`` in its order, then others by name.

        Where they name none, those of the plans' steps.
        """
        named = {name for record in self.records for name in record.operators} or set(self.operators)
        known = [op.name for op in EditOp if op.name in named]
        return (*known, *sorted(named.difference(known)))

    def pairs(self) -> dict[Pair, int]:
        """Rows of the records by the names of their pictures."""
        return {(record.input, record.output): row for row, record in enumerate(self.records)}

    def read_pair(self, row: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """The source, the target and the region of a pair, by its row in :attr:`records`; see :class:`EditSample`."""
        record = self.records[row]
        source, target = (read_image(self.root / IMAGES / name) for name in (record.input, record.output))
        height, width = source.shape[1:]
        size = (height, width) if self.size is None else (self.size, self.size)
        region = self._region(record, (height, width), size) if record.places else None
        return resized(source, size), resized(target, size), region

    def _region(self, record: PairRecord, picture: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Bool [H, W] of ``size``; operators that act in different places act in all of them together."""
        masks = self._masks(record)
        region = torch.zeros(size, dtype=torch.bool)
        for place in record.places:
            chosen = [mask_at(masks[number], picture, size, record.input) for number in place.masks]
            union = torch.stack(chosen).any(0)
            region |= ~union if place.exclusive else union
        return region

    def _masks(self, record: PairRecord) -> Mapping[int, Tensor]:
        """Masks of the record's input, bool [H, W], by their numbers: those that its places name."""
        raise DataError(f"{self.origin}: has no masks")


def mask_at(mask: Tensor, picture: tuple[int, int], size: tuple[int, int], name: str) -> Tensor:
    """A mask bool [H, W] of a picture, at a size: nearest pixels.

    Raises:
        DataError: Its aspect differs by more than rounding from that of the picture's (H, W).
    """
    height, width = mask.shape
    try:
        check_aspect((height, width), picture, "its mask")
    except ValueError as error:
        raise DataError(f"{name}: {first_line(error)}; restore the mask file or the image") from None
    return nearest_pixels(mask[None], size)[0]


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Uint8 [3, H, W] at another size: linear, with averages where it shrinks."""
    if tuple(image.shape[1:]) == size:
        return image
    scaled = torch.nn.functional.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file that is a list of such.

    Raises:
        DataError: It is something else.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a list of records, got a {type(content).__name__}; give the published file")
    for number, record in enumerate(content):
        if not isinstance(record, dict):
            raise DataError(f"{path}: record {number}: expected an object, got {brief(record)}; correct or remove it")
    return content


def image_name(record: Mapping[str, Any], key: str, path: Path, number: int) -> str:
    """A picture's name in ``images/``; where a record has folders in it, the file has ``_`` in place of ``/``.

    Raises:
        DataError: It is no name.
    """
    name = record.get(key)
    if not isinstance(name, str) or not name.strip(" ./") or "\\" in name or "\0" in name:
        raise DataError(
            f"{path}: record {number}: {key} must be a file's name, got {brief(name)}; correct or remove it"
        )
    return name.replace("/", "_")


def texts(values: Sequence[Any], skipped: Counter[str]) -> tuple[str, ...]:
    """Those of some values that are texts with more than white space; null and NaN say nothing. Counts the others."""
    found = tuple(value for value in values if isinstance(value, str) and value.strip())
    if len(found) < len(values):
        skipped["requests without a text"] += len(values) - len(found)
    return found


def is_nothing(value: Any) -> bool:
    """Whether it is what published files have where nothing is known: null or NaN."""
    return value is None or (isinstance(value, float) and value != value)


def is_gif(*names: str) -> bool:
    """Whether one is a .gif, which has several frames and no colours to edit."""
    return any(name.lower().endswith(".gif") for name in names)


def say_skipped(origin: str, skipped: Counter[str]) -> None:
    """Logs once what a reader left out, and why."""
    if skipped:
        logger.info("%s: left out: %s", origin, ", ".join(f"{count} {what}" for what, count in skipped.items()))


def check_split(split: str) -> None:
    """Raises a ConfigError for a split that nothing has."""
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


def is_split_there(file: SplitFile, root: Path, splits: str | Path | None) -> bool:
    """Whether a folder has files of a data set's splits."""
    return any(is_file(file(root, split, splits)) for split in SPLITS)


def _check_images(folder: Path, records: Sequence[PairRecord], origin: str) -> None:
    if not is_folder(folder):
        raise DataError(f"{folder}: no such folder; it must have the images of {origin}")
    there = {path.name for path in folder.iterdir()}
    names = dict.fromkeys(name for record in records for name in (record.input, record.output))
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images are missing ({short(missing)}); restore them, or remove "
            f"their records from {origin}"
        )
