# SPDX-License-Identifier: Apache-2.0
"""Geometry of a sample: image, boxes, masks and keypoints together. Each function returns a new sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ldie.tasks.detection.sample import Sample
from ldie.tasks.detection.segmentation import Segmentation, clip_polygon, decode, encode

Size: TypeAlias = tuple[int, int]
"""(H, W) in pixels."""


def image_size(sample: Sample) -> Size:
    """(H, W) of the sample's image as it is now."""
    return sample.image.shape[1], sample.image.shape[2]


def resize_image(image: Tensor, size: Size, kernel: Image.Resampling = Image.Resampling.BILINEAR) -> Tensor:
    """A uint8 image [3,H,W] scaled to ``size``: see :func:`resize`."""
    if image.dtype != torch.uint8:
        raise ValueError(f"resize needs a uint8 image, got {image.dtype}; resize before normalising")
    if min(size) < 1:
        raise ValueError(f"resize needs a size of at least 1 x 1, got {size[0]} x {size[1]}")
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size[1], size[0]), kernel)
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


def crop_image(image: Tensor, top: int, left: int, size: Size, fill: int = 0) -> Tensor:
    """The window of ``size`` of an image [3,H,W]: see :func:`crop`."""
    window = image.new_full((3, *size), fill)
    rows, columns = _overlap(top, size[0], image.shape[1]), _overlap(left, size[1], image.shape[2])
    window[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[:, rows, columns]
    return window


def whole_multiples(size: Size, multiple: int) -> Size:
    """``size`` brought down to whole multiples, and to at least one."""
    return max(size[0] // multiple, 1) * multiple, max(size[1] // multiple, 1) * multiple


def resize(sample: Sample, size: Size, kernel: Image.Resampling = Image.Resampling.BILINEAR) -> Sample:
    """Scales to ``size``, the two axes on their own; antialiased where it shrinks (except by the NEAREST kernel).

    Raises:
        ValueError: The image is not uint8 (resize before normalising), or ``size`` is empty.
    """
    image = resize_image(sample.image, size, kernel)
    height, width = image_size(sample)
    fx, fy = size[1] / width, size[0] / height
    keypoints = sample.keypoints
    if keypoints is not None:
        # Keypoints are pixel indices: their continuous coordinates are 0.5 more. Unlabelled ones stay at zero.
        moved = torch.stack([(keypoints[..., 0] + 0.5) * fx - 0.5, (keypoints[..., 1] + 0.5) * fy - 0.5], dim=-1)
        keypoints = _with_points(keypoints, moved)
    return replace(
        sample,
        image=image,
        boxes=sample.boxes * torch.tensor([fx, fy, fx, fy]),
        masks=None if sample.masks is None else [_resize_mask(mask, (height, width), size) for mask in sample.masks],
        keypoints=keypoints,
    )


def crop(sample: Sample, top: int, left: int, size: Size, fill: int = 0) -> Sample:
    """The window of ``size`` at ``top``, ``left``; what lies outside the image is filled. Objects are clipped.

    An object with no part in the window is left out.
    """
    shift = torch.tensor([left, top], dtype=torch.float32)
    keypoints = sample.keypoints
    if keypoints is not None:
        keypoints = _with_points(keypoints, keypoints[..., :2] - shift)
    moved = replace(
        sample,
        image=crop_image(sample.image, top, left, size, fill),
        boxes=sample.boxes - shift.repeat(2),
        masks=None if sample.masks is None else [_crop_mask(mask, top, left, size) for mask in sample.masks],
        keypoints=keypoints,
    )
    return clip(moved)


def mirror(sample: Sample, flip_pairs: Sequence[tuple[int, int]] = ()) -> Sample:
    """Left and right exchanged; the keypoints of each pair (left eye, right eye) change places."""
    width = sample.image.shape[2]
    keypoints = sample.keypoints
    if keypoints is not None:
        order = torch.arange(keypoints.shape[1])
        for a, b in flip_pairs:
            order[[a, b]] = order[[b, a]]
        keypoints = keypoints[:, order]
        keypoints = _with_points(keypoints, torch.stack([width - 1 - keypoints[..., 0], keypoints[..., 1]], dim=-1))
    x0, y0, x1, y1 = sample.boxes.unbind(dim=1)
    return replace(
        sample,
        image=sample.image.flip(2),
        boxes=torch.stack([width - x1, y0, width - x0, y1], dim=1),
        masks=None if sample.masks is None else [_mirror_mask(mask, width) for mask in sample.masks],
        keypoints=keypoints,
    )


def clip(sample: Sample) -> Sample:
    """Boxes and polygons cut at the image's border, keypoints outside unlabelled, objects with no area left out."""
    height, width = image_size(sample)
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.minimum(sample.boxes.clamp(min=0), limit)
    keypoints = sample.keypoints
    if keypoints is not None:
        x, y = keypoints[..., 0], keypoints[..., 1]
        inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
        keypoints = keypoints * inside[..., None]
    clipped = replace(sample, boxes=boxes, keypoints=keypoints)
    if sample.masks is not None:
        clipped.masks = [_clip_mask(mask, (height, width)) for mask in sample.masks]
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return clipped if bool(kept.all()) else clipped.select(kept)


def _overlap(start: int, length: int, limit: int) -> slice:
    """The part of a window that lies in 0..limit; empty slices where there is none."""
    begin = min(max(start, 0), limit)
    return slice(begin, max(begin, min(start + length, limit)))


def _with_points(keypoints: Tensor, points: Tensor) -> Tensor:
    """``keypoints`` [N,K,3] with other x and y; unlabelled ones stay at zero, as in COCO."""
    visibility = keypoints[..., 2:]
    return torch.cat([points * (visibility > 0), visibility], dim=-1)


def _resize_mask(mask: Segmentation, old: Size, new: Size) -> Segmentation:
    if isinstance(mask, dict):
        # A pixel of the new mask shows what its centre showed.
        rows = ((np.arange(new[0]) + 0.5) * old[0] / new[0]).astype(np.intp)
        columns = ((np.arange(new[1]) + 0.5) * old[1] / new[1]).astype(np.intp)
        return encode(decode(mask, old)[rows[:, None], columns])
    scale = (new[1] / old[1], new[0] / old[0])
    return [[value * scale[i % 2] for i, value in enumerate(part)] for part in mask]


def _crop_mask(mask: Segmentation, top: int, left: int, size: Size) -> Segmentation:
    if isinstance(mask, dict):
        pixels: NDArray[np.bool_] = decode(mask, (mask["size"][0], mask["size"][1]))
        window = np.zeros(size, dtype=np.bool_)
        rows, columns = _overlap(top, size[0], pixels.shape[0]), _overlap(left, size[1], pixels.shape[1])
        window[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels[rows, columns]
        return encode(window)
    shift = (left, top)
    return [[value - shift[i % 2] for i, value in enumerate(part)] for part in mask]


def _mirror_mask(mask: Segmentation, width: int) -> Segmentation:
    if isinstance(mask, dict):
        return encode(decode(mask, (mask["size"][0], mask["size"][1]))[:, ::-1])
    return [[value if i % 2 else width - value for i, value in enumerate(part)] for part in mask]


def _clip_mask(mask: Segmentation, size: Size) -> Segmentation:
    if isinstance(mask, dict):
        return mask
    return [part for part in (clip_polygon(part, size) for part in mask) if part]
