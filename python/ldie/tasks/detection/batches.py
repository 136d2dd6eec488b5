# SPDX-License-Identifier: Apache-2.0
"""Images of a batch side by side, and the masks of their objects one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

import ldie_ext
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.sample import Sample
from ldie.tasks.detection.transforms import normalize
from ldie.tasks.detection.whole_images import InputConfig


@dataclass(frozen=True)
class BatchMasks:
    """Of G objects, each as a polygon or, where its image has run lengths, as pixels of the batch's images."""

    coords: Tensor
    part_offsets: Tensor
    instance_offsets: Tensor
    """Tensors of :class:`ldie_ext.Polygons`; objects with pixels have no parts."""
    pixels: Tensor
    """uint8 [R,H,ceil(W / 8)], 8 pixels a byte."""
    pixel_rows: Tensor
    """int64 [G + 1]: an object's row of ``pixels``, -1 for polygons and for no object, which the last entry is."""
    width: int
    """W."""

    def in_boxes(self, boxes: Tensor, rows: Tensor, size: int) -> Tensor:
        """Bool [N,size,size]: what boxes [N,4] show of the objects ``rows`` (G: of none)."""
        count = len(self.pixel_rows) - 1
        polygons = ldie_ext.Polygons(self.coords, self.part_offsets, self.instance_offsets)
        drawn = ldie_ext.polygons_to_roi_masks(polygons, boxes, size, instances=rows.where(rows < count, -1))
        if not len(self.pixels):
            return drawn
        cut = ldie_ext.crop_and_resize_masks(
            self.pixels, boxes, size, instances=self.pixel_rows[rows], packed_width=self.width, convention="detectron2"
        )
        return drawn | cut

    def pyramid(
        self,
        strides: Sequence[int],
        *,
        mode: Literal["area", "nearest", "bilinear", "fraction"],
        size: Size,
        packed: bool = True,
    ) -> ldie_ext.MaskPyramid:
        """All masks in images of ``size``, in coarser cells: see :func:`ldie_ext.mask_target_pyramid`.

        Fractions are never packed.
        """
        packed = packed and mode != "fraction"
        polygons = ldie_ext.Polygons(self.coords, self.part_offsets, self.instance_offsets)
        drawn = ldie_ext.mask_target_pyramid(polygons, strides, mode=mode, size=size, packed=packed)
        if not len(self.pixels):
            return drawn
        cut = ldie_ext.mask_target_pyramid(self.pixels, strides, mode=mode, packed_width=self.width, packed=packed)
        rows = self.pixel_rows[:-1]

        def chosen(polygon: Tensor, pixel: Tensor) -> Tensor:
            own = rows.reshape(-1, *[1] * (polygon.ndim - 1))
            return pixel[rows.clamp(min=0)].where(own >= 0, polygon)

        levels = tuple(map(chosen, drawn.levels, cut.levels))
        return ldie_ext.MaskPyramid(levels, chosen(drawn.centers, cut.centers), chosen(drawn.areas, cut.areas))


@dataclass(frozen=True)
class Batch:
    """B images with G objects in all; image b owns the objects offsets[b]..offsets[b + 1]."""

    images: Tensor  # uint8 [B,3,H,W], RGB, each in the top left corner
    sizes: Tensor  # int64 [B,2], height and width of each
    boxes: Tensor  # float32 [G,4]
    labels: Tensor  # int64 [G]
    offsets: Tensor  # int64 [B+1]
    slots: Tensor  # int64 [B,M], each image's objects, then G
    masks: BatchMasks


def collate(samples: Sequence[Sample], multiple: int) -> Batch:
    """A batch of images filled up at the right and the bottom.

    Args:
        samples: With masks, without crowds.
        multiple: Of which both sides are to be.
    """
    images, sizes = stacked([sample.image for sample in samples], multiple)
    masks = batch_masks(samples, (images.shape[2], images.shape[3]))
    assert masks is not None  # check_data() made sure
    ends, slots = object_slots(samples)
    boxes, labels = (torch.cat([getattr(sample, name) for sample in samples]) for name in ("boxes", "labels"))
    return Batch(images, sizes, boxes, labels, ends, slots, masks)


def object_slots(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Offsets int64 [B+1] of each image's objects, and int64 [B,M]: the objects of each, filled up with their number.

    The host knows the shape, so that nothing waits for the device later.
    """
    counts = [len(sample) for sample in samples]
    ends = torch.tensor([0, *counts]).cumsum(0)
    slots = ends[:-1, None] + torch.arange(max(counts))
    return ends, slots.where(slots < ends[1:, None], ends[-1])


def network_input(images: Tensor, sizes: Tensor, config: InputConfig) -> Tensor:
    """Images uint8 [B,3,H,W] of ``sizes`` int64 [B,2], normalised; what they were filled up with becomes 0."""
    normal = normalize(images, config.mean, config.std, bgr=config.bgr)
    y, x = (torch.arange(side, device=images.device) for side in images.shape[2:])
    inside = (y[:, None] < sizes[:, 0, None, None]) & (x < sizes[:, 1, None, None])
    return normal.where(inside[:, None], 0).contiguous(memory_format=torch.channels_last)


def stacked(images: Sequence[Tensor], multiple: int) -> tuple[Tensor, Tensor]:
    """Images [3,h,w] of any dtype as one batch, filled up with 0 at the right and the bottom; and their sizes."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = (padded(side, multiple) for side in sizes.amax(0).tolist())
    batch = images[0].new_zeros(len(images), 3, height, width)
    for place, image in zip(batch, images):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch.contiguous(memory_format=torch.channels_last), sizes


class Group(NamedTuple):
    """Images that fill a batch alike."""

    rows: list[int]
    """Which ones they are."""
    images: Tensor
    """[B,3,H,W], filled up with 0 at the right and the bottom."""
    sizes: Tensor
    """int64 [B,2], of each before."""


def grouped(images: Sequence[Tensor], multiple: int) -> Iterator[Group]:
    """All images [3,h,w], those together whose sides have the same next multiples."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        groups.setdefault(tuple(padded(side, multiple) for side in image.shape[1:]), []).append(row)
    for rows in groups.values():
        yield Group(rows, *stacked([images[row] for row in rows], multiple))


def padded(side: int, multiple: int) -> int:
    """The next whole multiple."""
    return -(-side // multiple) * multiple


def batch_masks(samples: Sequence[Sample], size: Size) -> BatchMasks | None:
    """The masks of all objects in images of ``size``, the samples in their top left corners; None: some lack masks."""
    if any(sample.masks is None for sample in samples):
        return None
    coords, parts, instances, pixels, rows = [], [], [], [], []
    drawn = 0
    for sample in samples:
        if isinstance(sample.masks, ldie_ext.Polygons):
            coords.append(sample.masks.coords)
            parts.append(sample.masks.part_offsets.diff())
            instances.append(sample.masks.instance_offsets.diff())
            rows.append(torch.full((len(sample),), -1))
        elif isinstance(sample.masks, ldie_ext.RLE):
            pixels.append(_filled(sample.masks, sample, size))
            instances.append(torch.zeros(len(sample), dtype=torch.int64))
            rows.append(drawn + torch.arange(len(sample)))
            drawn += len(sample)
    return BatchMasks(
        torch.cat([torch.zeros(0, 2, dtype=torch.float64), *coords]),
        _ends(parts),
        _ends(instances),
        torch.cat([torch.zeros(0, size[0], -(-size[1] // 8), dtype=torch.uint8), *pixels]),
        torch.cat([*rows, torch.full((1,), -1)]),
        size[1],
    )


def _ends(lengths: Sequence[Tensor]) -> Tensor:
    """Offsets of groups of these lengths."""
    return torch.cat([torch.zeros(1, dtype=torch.int64), *lengths]).cumsum(0)


def _filled(masks: ldie_ext.RLE, sample: Sample, size: Size) -> Tensor:
    """Packed pixels in an image of ``size``, of which the sample's is the top left corner."""
    height, width = sample.image.shape[1:]
    packed = ldie_ext.rle_decode(masks, size=(height, width), packed=True)
    filled = packed.new_zeros(len(packed), size[0], -(-size[1] // 8))
    filled[:, :height, : packed.shape[2]] = packed
    return filled
