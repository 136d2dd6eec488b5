"""Lists of integers as tensors on the device of others. Native code: csrc/ragged/integers.h."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__: list[str] = []


def integers(values: list[int], like: Tensor) -> Tensor:
    """int64 [N] on the device of ``like``.

    Unlike ``torch.tensor(values, device=...)`` it copies nothing from the host, which a GPU would have to be waited
    for, and which a CUDA graph would do again from memory that is gone: the values are arguments of a kernel.
    """
    return _library.ops.integers(like, values)


def _fake(like: Tensor, values: list[int]) -> Tensor:
    return like.new_empty((len(values),), dtype=torch.int64)


register("integers", fake=_fake, discrete=True)
