"""Plain means over segments, in float64 and one segment after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_mean_pool(features: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    batch, channels = features.shape[:2]
    means = [features.new_zeros(0, channels).double()]
    for image, ids in zip(features.double(), segments, strict=True):
        for s in range(num_segments):
            some = bool((ids == s).any())
            means.append(image[:, ids == s].mean(1)[None] if some else image.new_zeros(1, channels))
    return torch.cat(means).view(batch, num_segments, channels)
