"""The memory format of images that come out of an op, by those that went in.

Decided here, once a call: native code, the fakes that torch.compile asks, and the backward are told.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def channels_last(images: list[Tensor]) -> bool:
    """Channels last when every tensor is that, and they are not all contiguous too, as one-channel maps are."""
    every, plain = True, True
    for image in images:
        every = every and image.is_contiguous(memory_format=torch.channels_last)
        plain = plain and image.is_contiguous()
    return every and not plain


def make_empty(like: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """A tensor of four dimensions in that format, of the dtype and on the device of another."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=memory_format)
