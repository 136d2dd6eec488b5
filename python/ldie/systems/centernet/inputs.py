# SPDX-License-Identifier: Apache-2.0
"""Images on their way into the networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ldie.systems.centernet.config import CenterNetConfig, InputConfig
from ldie.tasks.detection.geometry import resize_image
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.transforms import normalize
from ldie.tasks.detection.windows import crop_pixels, whole_multiples


def network_input(images: Tensor, config: InputConfig) -> Tensor:
    """uint8 [B,3,H,W], RGB, as the extractors take it: normalised float32."""
    return normalize(images, config.mean, config.std, bgr=config.bgr).contiguous(memory_format=torch.channels_last)


def evaluation_size(size: Size, scale: int, config: CenterNetConfig) -> Size:
    """(H, W) to which the extractor of this scale sees a whole image of ``size`` resized.

    The largest scale sees it as it is, or with its long side brought down to ``input.max_size``. So do the others,
    except with ``solver.contents_match``, which reduces it in proportion to their ``down_ratios`` as in training.
    """
    height, width = size
    limit = config.input.max_size or max(size)
    factor = min(1.0, limit / max(size))
    if config.solver.contents_match:
        ratios = config.model.down_ratios
        factor *= ratios[scale] / max(ratios)
    return max(1, round(height * factor)), max(1, round(width * factor))


def evaluation_image(
    image: Tensor, scale: int, config: CenterNetConfig, resize: Callable[[Tensor, Size], Tensor] = resize_image
) -> Tensor:
    """A whole image [3,H,W] as the extractor of this scale sees it, uint8: resized, cropped and padded to multiples.

    Images [B,3,H,W] of one size go together where ``resize`` takes them.
    """
    size = (image.shape[-2], image.shape[-1])
    resized = evaluation_size(size, scale, config)
    if resized != size:
        image = resize(image, resized)
    window = whole_multiples(resized, config.test.crop_multiple)
    image = crop_pixels(image, 0, 0, window)
    if not config.test.pad_multiple:
        return image
    top, left = evaluation_corner(size, scale, config)
    return crop_pixels(image, -top, -left, _padded(window, config))


def evaluation_corner(size: Size, scale: int, config: CenterNetConfig) -> tuple[int, int]:
    """(top, left) at which a whole image of ``size`` lies in what the extractor of this scale sees."""
    height, width = whole_multiples(evaluation_size(size, scale, config), config.test.crop_multiple)
    padded = _padded((height, width), config)
    return padded[0] // 2 - height // 2, padded[1] // 2 - width // 2


def _padded(size: Size, config: CenterNetConfig) -> Size:
    multiple = config.test.pad_multiple
    return ((size[0] // multiple + 1) * multiple, (size[1] // multiple + 1) * multiple) if multiple else size
