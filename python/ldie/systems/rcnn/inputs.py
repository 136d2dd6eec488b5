# SPDX-License-Identifier: Apache-2.0
"""Images as the network sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ldie.systems.rcnn.config import Convention, InputConfig
from ldie.tasks.detection.geometry import resize_image
from ldie.tasks.detection.transforms import normalize


def network_input(images: Tensor, sizes: Tensor, config: InputConfig) -> Tensor:
    """Images uint8 [B,3,H,W] of ``sizes`` int64 [B,2], normalised; what they were filled up with becomes 0."""
    normal = normalize(images, config.mean, config.std, bgr=config.bgr)
    y, x = (torch.arange(side, device=images.device) for side in images.shape[2:])
    inside = (y[:, None] < sizes[:, 0, None, None]) & (x < sizes[:, 1, None, None])
    return normal.where(inside[:, None], 0).contiguous(memory_format=torch.channels_last)


def evaluation_image(image: Tensor, config: InputConfig, convention: Convention) -> Tensor:
    """A whole image uint8 [3,H,W] as normalised float32 [3,h,w].

    Its shorter side is the configured one, unless the longer side would then be too long. Torchvision normalises first
    and then interpolates without antialiasing; detectron2 resizes as Pillow does.
    """
    size = evaluation_size((image.shape[1], image.shape[2]), config, convention)
    if convention == "detectron2":
        return normalize(resize_image(image, size), config.mean, config.std, bgr=config.bgr)
    normal = normalize(image, config.mean, config.std, bgr=config.bgr)
    return functional.interpolate(normal[None], size=size, mode="bilinear", align_corners=False)[0]


def evaluation_size(size: tuple[int, int], config: InputConfig, convention: Convention) -> tuple[int, int]:
    """Height and width that an image of ``size`` gets.

    Both conventions scale by the same number; torchvision rounds down, detectron2 to the nearest, computing in the
    order that decides where a side ends in about one half.
    """
    shorter, longer = min(size), max(size)
    if convention == "torchvision":
        factor = min(config.shorter_side / shorter, config.longest / longer)
        height, width = (max(1, math.floor(side * factor)) for side in size)
        return height, width
    factor = config.shorter_side / shorter
    sides = [float(config.shorter_side) if side == shorter else factor * side for side in size]
    if max(sides) > config.longest:
        factor = config.longest / max(sides)
        sides = [side * factor for side in sides]
    height, width = (max(1, int(side + 0.5)) for side in sides)
    return height, width


def stacked(images: Sequence[Tensor], multiple: int) -> tuple[Tensor, Tensor]:
    """Images [3,h,w] of any dtype as one batch, filled up with 0 at the right and the bottom; and their sizes."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = (padded(side, multiple) for side in sizes.amax(0).tolist())
    batch = images[0].new_zeros(len(images), 3, height, width)
    for place, image in zip(batch, images):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch.contiguous(memory_format=torch.channels_last), sizes


def padded(side: int, multiple: int) -> int:
    """The next whole multiple."""
    return -(-side // multiple) * multiple
