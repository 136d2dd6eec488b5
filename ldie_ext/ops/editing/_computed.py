"""The type that edits of images are computed in, which parameters and soft masks come in, too."""

from __future__ import annotations

import torch
from torch import Tensor

__all__: list[str] = []


def computed_dtype(*images: Tensor) -> torch.dtype:
    """float64 where an image has it, else float32."""
    return torch.float64 if torch.float64 in [image.dtype for image in images] else torch.float32


def masks_in(dtype: torch.dtype, masks: Tensor | None) -> Tensor | None:
    """Soft masks in this type; binary ones, and what is none, as they came."""
    return masks.to(dtype) if masks is not None and masks.is_floating_point() else masks
