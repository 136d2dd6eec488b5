# SPDX-License-Identifier: Apache-2.0
"""Geometry of a sample: image, boxes, masks and keypoints together. Each function returns a new sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldie.tasks.detection import masks
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.sample import Sample
from ldie.tasks.detection.windows import crop_pixels


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
        masks=None if sample.masks is None else masks.resize(sample.masks, (height, width), size),
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
        image=crop_pixels(sample.image, top, left, size, fill),
        boxes=sample.boxes - shift.repeat(2),
        masks=None if sample.masks is None else masks.crop(sample.masks, top, left, image_size(sample), size),
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
        masks=None if sample.masks is None else masks.mirror(sample.masks, image_size(sample)),
        keypoints=keypoints,
    )


def mirror_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Keypoints that change places in a mirror, by their names: ``left_eye`` and ``right_eye``."""
    partners = [(i, name.replace("left", "right")) for i, name in enumerate(names) if "left" in name]
    return [(i, names.index(partner)) for i, partner in partners if partner in names]


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
        clipped.masks = masks.clip(sample.masks, (height, width))
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return clipped if bool(kept.all()) else clipped.select(kept)


def _with_points(keypoints: Tensor, points: Tensor) -> Tensor:
    """``keypoints`` [N,K,3] with other x and y; unlabelled ones stay at zero, as in COCO."""
    visibility = keypoints[..., 2:]
    return torch.cat([points * (visibility > 0), visibility], dim=-1)
