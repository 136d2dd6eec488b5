# SPDX-License-Identifier: Apache-2.0
"""Pairs of SynEdit, compared and summed up."""

from __future__ import annotations

import hashlib

import torch
from ldie.tasks.editing.synedit.synedit_pairs import SynPair, syn_pair
from torch import Tensor

FIELDS = ("source", "target", "ops", "params", "masks", "mask_index", "exclusive")
GOLDEN = "5195930e30b5d047"
"""What :func:`golden_digest` gives on every machine. Where the generator is to change, FORMAT goes up with it."""


def same(a: SynPair, b: SynPair) -> bool:
    """Whether two pairs are alike in everything."""
    tensors: list[tuple[Tensor, Tensor]] = [(getattr(a, name), getattr(b, name)) for name in FIELDS]
    return a.objects == b.objects and all(x.dtype == y.dtype and torch.equal(x, y) for x, y in tensors)


def digest(pairs: list[SynPair]) -> str:
    """A word for all their bytes."""
    total = hashlib.sha256()
    for pair in pairs:
        for name in FIELDS:
            total.update(getattr(pair, name).numpy().tobytes())
        total.update(repr(pair.objects).encode())
    return total.hexdigest()[:16]


def golden_digest() -> str:
    return digest([syn_pair(seed, 56, steps=(1, 6), local=0.3) for seed in range(60)])
