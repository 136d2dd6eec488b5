"""The three places an op runs: CPU, its CUDA kernels emulated on the CPU, and CUDA."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from ldie_ext import _register


@dataclass(frozen=True)
class Backend:
    """Where an op runs: the torch device of its tensors and the namespace of its kernels."""

    name: str
    device: torch.device
    namespace: str

    def __str__(self) -> str:
        return self.name

    def op(self, name: str) -> torch._ops.OpOverload:
        """The dispatcher's op, for opcheck."""
        return getattr(getattr(torch.ops, self.namespace), name).default


CPU = Backend("cpu", torch.device("cpu"), "ldie_ext")
EMULATED = Backend("emulated", torch.device("cpu"), "ldie_ext_emulated")
CUDA = Backend("cuda", torch.device("cuda"), "ldie_ext")

#: LDIE_BACKENDS=emulated,cuda runs only the cases of these backends.
WANTED = {name for name in os.environ.get("LDIE_BACKENDS", "").split(",") if name}
#: Cases for a GPU are there where it is, or when asked for: so that they can be counted elsewhere.
AVAILABLE = [CPU, EMULATED, *([CUDA] if torch.cuda.is_available() or CUDA.name in WANTED else [])]


#: A sanitizer looks at accesses and at their order: fewer values do.
SANITIZED = os.environ.get("LDIE_EMULATOR_MODE", "plain") != "plain" or "LDIE_SANITIZER" in os.environ


@cache
def _emulated_library() -> Path:
    from emulator.build import ensure

    return ensure(os.environ.get("LDIE_EMULATOR_MODE", "plain"), "_C_emulated") / "_C_emulated.so"


def emulated_launches() -> int:
    """Kernels launched by emulated ops so far; sorts and prefix sums of ``core/device_sort.cuh`` are not among them."""
    count = ctypes.CDLL(str(_emulated_library())).simt_launches
    count.restype = ctypes.c_uint64
    return int(count())


@cache
def load_emulated() -> SimpleNamespace:
    """Builds (incrementally) and loads the emulated CUDA kernels, and wires their Python side; returns their ops."""
    torch.ops.load_library(_emulated_library())
    registrations = _register.registrations.values()
    return SimpleNamespace(**{each.name: _register.apply(each, EMULATED.namespace) for each in registrations})
