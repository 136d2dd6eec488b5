"""The ``measure`` fixture, and what a result file says about where it was measured."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
import torch

from ldie_ext import _library

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every row: all variants; on the CPU each thread count, on a GPU once."""
    if "measure" in metafunc.fixturenames:
        places = [(device, threads) for device in DEVICES for threads in (harness.THREADS if device == "cpu" else (1,))]
        cases = [(variant, device, threads) for device, threads in places for variant in harness.VARIANTS]
        metafunc.parametrize("measure", cases, indirect=True, ids=lambda case: "-".join(map(str, case)))


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[harness.Measure]:
    """Measures one variant on one device with one thread count."""
    variant, device, threads = request.param
    op = Path(str(request.path)).stem.removeprefix("bench_")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    yield harness.Measure(benchmark, op, variant, threads, torch.device(device))
    torch.set_num_threads(before)


def git_commit() -> str:
    """The commit that was measured, with a plus sign when the tree had changes."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "unknown"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Adds versions, the commit and the loaded native libraries."""
    machine_info.update(
        torch=torch.__version__,
        torchvision=getattr(harness.torchvision, "__version__", None),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        commit=git_commit(),
        libraries=[status.name for status in _library.load() if status.loaded],
    )
