"""Masks for tests, their packed form and COCO's encoding of them."""

from __future__ import annotations

import numpy as np
import torch
from oracles import pycoco


def masks_of(size: tuple[int, int]) -> torch.Tensor:
    """bool [9, H, W]: empty, full, one corner each, noisy, blocky, whole columns."""
    noise = torch.rand(size)
    first, last, block, columns = (torch.zeros(size, dtype=torch.bool) for _ in range(4))
    first[0, 0] = last[-1, -1] = True
    block[size[0] // 3 : size[0] // 2 + 1, size[1] // 4 :] = True
    columns[:, size[1] // 3 : size[1] // 2 + 1] = True
    constant = torch.zeros(size, dtype=torch.bool)
    return torch.stack([constant, ~constant, first, last, noise < 0.5, noise < 0.02, noise < 0.98, block, columns])


def placed(tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """The same tensor of one-byte elements, contiguous, `offset` bytes past an aligned address."""
    memory = torch.empty(offset + tensor.numel(), dtype=tensor.dtype, device=tensor.device)
    return memory[offset:].view(tensor.shape).copy_(tensor)


def pack(masks: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.packbits(masks.numpy(), axis=-1, bitorder="little"))


def by_coco(masks: torch.Tensor) -> list[dict]:
    return pycoco.encode(np.asfortranarray(masks.numpy().astype(np.uint8).transpose(1, 2, 0)))
