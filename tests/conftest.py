"""Every op runs in three backends: CPU, its CUDA kernels emulated on the CPU, and CUDA where there is a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch

from ldie_ext import _library, _register
from ldie_ext.ops import PUBLIC  # noqa: F401  (loads the libraries and registers every op)


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
def load_emulated() -> None:
    """Builds (incrementally) and loads the emulated CUDA kernels, and wires their Python side."""
    from emulator.build import ensure

    torch.ops.load_library(ensure(os.environ.get("LDIE_EMULATOR_MODE", "plain")) / "_C_emulated.so")
    for registration in _register.registrations.values():
        _register.apply(registration, EMULATED.namespace)


@pytest.fixture(params=[CPU, EMULATED, CUDA], ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """One backend after the other; public functions of ldie_ext run on it."""
    chosen: Backend = request.param
    if chosen is CUDA and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if chosen is EMULATED:
        load_emulated()
        monkeypatch.setattr(_library, "ops", torch.ops.ldie_ext_emulated)
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """LDIE_BACKENDS=emulated,cuda runs only the cases of these backends."""
    wanted = os.environ.get("LDIE_BACKENDS")
    if not wanted:
        return
    names = set(wanted.split(","))

    def kept(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        return callspec is not None and "backend" in callspec.params and callspec.params["backend"].name in names

    config.hook.pytest_deselected(items=[item for item in items if not kept(item)])
    items[:] = [item for item in items if kept(item)]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same random numbers in every run and order of tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
