# SPDX-License-Identifier: Apache-2.0
"""Training batches: images side by side, their objects one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import ldie_ext
from ldie.systems.rcnn.inputs import stacked
from ldie.tasks.detection import Sample


@dataclass(frozen=True)
class Masks:
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


@dataclass(frozen=True)
class Batch:
    """B images with G objects in all; image b owns the objects offsets[b]..offsets[b + 1]."""

    images: Tensor  # uint8 [B,3,H,W], RGB, each in the top left corner
    sizes: Tensor  # int64 [B,2], height and width of each
    ids: Tensor  # int64 [B], of the data set's images
    boxes: Tensor  # float32 [G,4]
    labels: Tensor  # int64 [G]
    offsets: Tensor  # int64 [B+1]
    slots: Tensor  # int64 [B,M], each image's objects, then G
    masks: Masks | None
    keypoints: Tensor | None  # float32 [G,K,3], pixel indices

    @property
    def padded_boxes(self) -> Tensor:
        """Float32 [G+1,4]: the boxes, and one that stands for no object."""
        return torch.cat([self.boxes, self.boxes.new_zeros(1, 4)])


def collate(samples: Sequence[Sample], multiple: int) -> Batch:
    """A batch of images filled up at the right and the bottom; the host knows all shapes, so nothing waits later.

    Args:
        samples: Without crowds and boxes without area.
        multiple: Of which both sides are to be.
    """
    images, sizes = stacked([sample.image for sample in samples], multiple)
    counts = [len(sample) for sample in samples]
    ends = torch.tensor([0, *counts]).cumsum(0)
    slots = ends[:-1, None] + torch.arange(max(counts))
    masks = (
        None if any(sample.masks is None for sample in samples) else _masks(samples, (images.shape[2], images.shape[3]))
    )
    keypoints = [sample.keypoints for sample in samples if sample.keypoints is not None]
    return Batch(
        images,
        sizes,
        torch.tensor([sample.image_id for sample in samples]),
        torch.cat([sample.boxes for sample in samples]),
        torch.cat([sample.labels for sample in samples]),
        ends,
        slots.where(slots < ends[1:, None], ends[-1]),
        masks,
        torch.cat(keypoints) if len(keypoints) == len(samples) else None,
    )


def _masks(samples: Sequence[Sample], size: tuple[int, int]) -> Masks:
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
    return Masks(
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


def _filled(masks: ldie_ext.RLE, sample: Sample, size: tuple[int, int]) -> Tensor:
    """Packed pixels in an image of ``size``, of which the sample's is the top left corner."""
    height, width = sample.image.shape[1:]
    packed = ldie_ext.rle_decode(masks, size=(height, width), packed=True)
    filled = packed.new_zeros(len(packed), size[0], -(-size[1] // 8))
    filled[:, :height, : packed.shape[2]] = packed
    return filled
