"""The three places an op runs: CPU, its CUDA kernels emulated on the CPU, and CUDA."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import torch

from ldie_ext import _register


@dataclass(frozen=True)
class Backend:
    """Where an op runs: the torch device of its tensors and the namespace of its kernels."""

    name: str
    device: torch.device
    namespace: str

    def op(self, name: str) -> torch._ops.OpOverload:
        """The dispatcher's op, for opcheck."""
        return getattr(getattr(torch.ops, self.namespace), name).default


CPU = Backend("cpu", torch.device("cpu"), "ldie_ext")
EMULATED = Backend("emulated", torch.device("cpu"), "ldie_ext_emulated")
CUDA = Backend("cuda", torch.device("cuda"), "ldie_ext")


@cache
def load_emulated() -> SimpleNamespace:
    """Builds (incrementally) and loads the emulated CUDA kernels, and wires their Python side; returns their ops."""
    from emulator.build import ensure

    torch.ops.load_library(ensure(os.environ.get("LDIE_EMULATOR_MODE", "plain")) / "_C_emulated.so")
    registrations = _register.registrations.values()
    return SimpleNamespace(**{each.name: _register.apply(each, EMULATED.namespace) for each in registrations})
