# SPDX-License-Identifier: Apache-2.0
"""Panoptic segmentations: every pixel belongs to one region, which has an id and a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldie.errors import DataError, short
from ldie.tasks.detection.annotations import brief, read_json
from ldie.tasks.detection.images import read_image

UNLABELLED = 0


@dataclass(frozen=True)
class Segment:
    """A region of a picture."""

    id: int
    """In the picture's map of ids; never 0."""
    category: str
    is_thing: bool
    """Whether it is one object; else stuff, as the sky is."""
    iscrowd: bool = False


@dataclass(frozen=True)
class Panoptic:
    """A picture's regions."""

    ids: Tensor
    """int64 [H, W], 0 where no region is."""
    segments: tuple[Segment, ...]

    @property
    def masks(self) -> Tensor:
        """Bool [N, H, W], those of the segments in their order; no pixel is in two."""
        numbers = torch.tensor([segment.id for segment in self.segments], dtype=torch.int64)
        return self.ids == numbers[:, None, None]


def two_channel_ids(channels: Tensor) -> Tensor:
    """Ids int64 [H, W] of a map uint8 [2, H, W], class and instance, as UPSNet writes them: 1000 * class + instance.

    Make them at full size, and take nearest pixels of the ids afterwards: channels that were scaled one by one have ids
    that no region has.
    """
    if channels.dtype != torch.uint8 or channels.dim() != 3 or channels.shape[0] != 2:
        raise DataError(f"channels must be uint8 [2, H, W], got {channels.dtype} {list(channels.shape)}")
    first, second = channels.long()
    return 1000 * first + second


def rgb_ids(image: Tensor) -> Tensor:
    """Ids int64 [H, W] of a picture uint8 [3, H, W] as COCO's are: R + 256 G + 65536 B."""
    if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] != 3:
        raise DataError(f"image must be uint8 [3, H, W], got {image.dtype} {list(image.shape)}")
    red, green, blue = image.long()
    return red + 256 * green + 65536 * blue


class PanopticFile:
    """Panoptic annotations in COCO's format: a JSON file, and a folder with a PNG file for each picture.

    Args:
        path: The JSON file.
        folder: With the PNG files; None: the one beside it of its name without ``.json``, as COCO has it.

    Raises:
        DataError: The file cannot be read or is none of these.
    """

    def __init__(self, path: str | Path, folder: str | Path | None = None) -> None:
        self.path = Path(path)
        self.folder = self.path.with_suffix("") if folder is None else Path(folder)
        content = read_json(self.path)
        names = self._entries(content, "categories", {"id": int, "name": str})
        self._categories = {entry["id"]: (entry["name"], bool(entry.get("isthing", 1))) for entry in names}
        listed = self._entries(content, "annotations", {"image_id": int, "file_name": str, "segments_info": list})
        self._annotations = {entry["image_id"]: entry for entry in listed}
        if len(self._annotations) < len(listed):
            raise DataError(f"{self.path}: annotations has an image_id twice; remove one of the entries")

    @property
    def class_names(self) -> list[str]:
        """Of all classes, by their ids in ascending order; for a vocabulary too."""
        return [self._categories[number][0] for number in sorted(self._categories)]

    @property
    def image_ids(self) -> list[int]:
        """Of all pictures, ascending."""
        return sorted(self._annotations)

    def read(self, image_id: int) -> Panoptic:
        """A picture's regions.

        Raises:
            DataError: There is no such picture, its PNG file cannot be read, or its ids are not those of the JSON file.
        """
        if image_id not in self._annotations:
            raise DataError(f"{self.path}: has no image_id {image_id}; choose one that it has")
        entry = self._annotations[image_id]
        segments = [self._segment(info, image_id) for info in entry["segments_info"]]
        picture = self.folder / entry["file_name"]
        ids = rgb_ids(read_image(picture))
        drawn, told = set(ids.unique().tolist()) - {UNLABELLED}, [segment.id for segment in segments]
        if drawn != set(told) or len(told) != len(drawn):
            other = sorted(drawn ^ set(told)) or [number for number in drawn if told.count(number) > 1]
            raise DataError(
                f"{picture}: its regions must be those that {self.path.name} lists, each once; not so: "
                f"{short(map(str, other))}; restore the PNG file of image {image_id}"
            )
        return Panoptic(ids, tuple(segments))

    def _entries(self, content: Any, section: str, keys: dict[str, type]) -> list[dict[str, Any]]:
        entries = content.get(section) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise DataError(f"{self.path}: has no list {section!r}; give a file in COCO's panoptic format")
        for position, entry in enumerate(entries):
            wrong = [
                key for key, kind in keys.items() if not isinstance(entry, dict) or type(entry.get(key)) is not kind
            ]
            if wrong:
                raise DataError(
                    f"{self.path}: {section}[{position}]: {wrong[0]} must be of type {keys[wrong[0]].__name__}, got "
                    f"{brief(entry.get(wrong[0]) if isinstance(entry, dict) else entry)}; correct the entry"
                )
        return entries

    def _segment(self, info: Any, image_id: int) -> Segment:
        number, category = (info.get("id"), info.get("category_id")) if isinstance(info, dict) else (None, None)
        known = type(category) is int and category in self._categories
        if type(number) is not int or not 0 < number < 2**24 or not known:
            raise DataError(
                f"{self.path}: image {image_id}: a segment needs an id from 1 to 16777215 and the category_id of a "
                f"class, got {brief(info)}; correct the entry"
            )
        return Segment(number, *self._categories[category], bool(info.get("iscrowd", 0)))


def region_of(panoptic: Panoptic, ids: Sequence[int]) -> Tensor:
    """Bool [H, W]: the pixels of the regions with some ids; ids that no region has add nothing."""
    return torch.isin(panoptic.ids, torch.tensor(list(ids), dtype=torch.int64))
