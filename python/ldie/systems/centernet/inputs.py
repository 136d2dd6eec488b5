# SPDX-License-Identifier: Apache-2.0
"""Images on their way into the networks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ldie.data import CropToMultiple, Resize, Sample, normalize
from ldie.systems.centernet.config import CenterNetConfig, InputConfig


def network_input(images: Tensor, config: InputConfig) -> Tensor:
    """uint8 [B,3,H,W], RGB, as the extractors take it: normalised float32."""
    return normalize(images, config.mean, config.std, bgr=config.bgr).contiguous(memory_format=torch.channels_last)


def evaluation_size(size: tuple[int, int], scale: int, config: CenterNetConfig) -> tuple[int, int]:
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


def evaluation_image(sample: Sample, scale: int, config: CenterNetConfig) -> Tensor:
    """A whole image as the extractor of this scale sees it, uint8 [3,H,W]: resized, cropped to whole multiples."""
    nothing = torch.zeros(len(sample), dtype=torch.bool)
    bare = replace(sample, masks=None, keypoints=None).select(nothing)
    size = (sample.image.shape[1], sample.image.shape[2])
    resized = evaluation_size(size, scale, config)
    if resized != size:
        bare = Resize(resized)(bare)
    return CropToMultiple(config.test.crop_multiple)(bare).image
