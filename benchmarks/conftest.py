"""The ``measure`` fixture, and what a result file says about where it was measured.

Freed memory is kept for the next call, of ours, of the composed form and of the peer (``ldie_ext.memory.keep_pages``):
otherwise calls with 32 MiB or more to return are measured by the system's page faults, which take longer than most
ops. Families without kernels are measured as they are used, with fresh pages: theirs come from NumPy, which leaves
those that stay zero untouched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
import torch
from gpu import importance, rows
from machine import git_commit

from ldie_ext import _library, memory

ON_GPU = "gpu"
ON_HOST = ("coco",)  # families without kernels


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where and how rows of a GPU are measured."""
    group = parser.getgroup("GPU rows")
    group.addoption("--gpu-rows", type=Path, default=Path("build/gpu-rows.jsonl"), help="file of the GPU's rows")
    group.addoption("--gpu-seconds", type=float, default=float("inf"), help="begin no row after this time")
    group.addoption("--gpu-launches", action="store_true", help="count launches instead of taking times")
    group.addoption("--gpu-rehearsal", action="store_true", help="measure the GPU's rows on the CPU, wall time alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every row: on the CPU each variant and thread count, on a GPU once."""
    if "measure" in metafunc.fixturenames:
        cases: list[Any] = [(variant, threads) for threads in harness.THREADS for variant in harness.VARIANTS]
        ids = [f"cpu-{threads}-{variant}" for variant, threads in cases]
        somewhere = torch.cuda.is_available() or metafunc.config.getoption("gpu_rehearsal")
        if somewhere and metafunc.definition.path.parent.name not in ON_HOST:
            cases, ids = [*cases, ON_GPU], [*ids, "cuda"]
        metafunc.parametrize("measure", cases, indirect=True, ids=ids)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rows of a GPU first those that matter most: the machine may be gone before all are done."""
    items.sort(key=importance.Order(items))


@pytest.fixture(scope="session")
def gpu_rows(pytestconfig: pytest.Config) -> rows.RowFile:
    """The file of this run, which begins with what the GPU's memory can do."""
    path = pytestconfig.getoption("gpu_rows")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = rows.RowFile(path, time.monotonic() + pytestconfig.getoption("gpu_seconds"))
    if torch.cuda.is_available() and not pytestconfig.getoption("gpu_launches"):
        file.write({"copy_bandwidth": rows.copy_bandwidth()})
    return file


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Iterator[harness.Measure | rows.GpuMeasure]:
    """Measures one variant on the CPU with one thread count, or all variants on a GPU."""
    op = Path(str(request.path)).stem.removeprefix("bench_")
    torch.manual_seed(0)
    if request.param == ON_GPU:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        count = request.config.getoption("gpu_launches")
        yield rows.GpuMeasure(op, device, request.getfixturevalue("gpu_rows"), rows.flush_buffer(device), count)
        rows.end_if_broken()
        return
    variant, threads = request.param
    memory.release_pages() if Path(request.path).parent.name in ON_HOST else memory.keep_pages()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    yield harness.Measure(request.getfixturevalue("benchmark"), op, variant, threads)
    torch.set_num_threads(before)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Adds versions, the commit and the loaded native libraries."""
    machine_info.update(
        torch=torch.__version__,
        torchvision=getattr(harness.torchvision, "__version__", None),
        commit=git_commit(),
        libraries=[status.name for status in _library.load() if status.loaded],
    )
