"""Every op runs in three backends: CPU, its CUDA kernels emulated on the CPU, and CUDA where there is a GPU."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from backends import AVAILABLE, CUDA, EMULATED, WANTED, Backend, load_emulated

from ldie_ext import _library
from ldie_ext.ops import PUBLIC  # noqa: F401  (loads the libraries and registers every op)


@pytest.fixture(params=AVAILABLE, ids=str)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """One backend after the other; public functions of ldie_ext run on it."""
    chosen: Backend = request.param
    if chosen is CUDA and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if chosen is EMULATED:
        monkeypatch.setattr(_library, "ops", load_emulated())
    return chosen


def needs_torchvision(item: pytest.Item) -> bool:
    """Whether a test, or the file that it stands in, is skipped where torchvision is not installed."""
    asks = 'importorskip("torchvision'
    outermost = [line for line in inspect.getsource(item.module).splitlines() if not line.startswith(" ")]
    return asks in "\n".join(outermost) or asks in inspect.getsource(item.function)


@pytest.hookimpl(tryfirst=True)  # before -m looks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the comparisons with torchvision, and leaves out the cases of backends that are not wanted.

    Slow tests come first, so that the other workers of pytest-xdist are done no earlier than theirs.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if isinstance(item, pytest.Function) and needs_torchvision(item):
            item.add_marker(pytest.mark.parity)
    if not WANTED:
        return

    def kept(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        return callspec is not None and "backend" in callspec.params and callspec.params["backend"].name in WANTED

    config.hook.pytest_deselected(items=[item for item in items if not kept(item)])
    items[:] = [item for item in items if kept(item)]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """A file may name cases by what it draws as it is imported: all workers of pytest-xdist must name them alike."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same random numbers in every run and order of tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_trackers() -> Iterator[None]:
    """Runs leave the same files whether or not TensorBoard is installed; it takes seconds to load, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ldie.engine.trackers.DEFAULT", ())
        yield


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A small selection of COCO, which is not part of the project."""
    shared = os.environ.get("LDIE_SHARED") or Path(__file__).parents[2] / "shared"
    root = Path(shared) / "data" / "coco_free"
    if not root.is_dir():
        pytest.skip(f"no photographs at {root}")
    return root
