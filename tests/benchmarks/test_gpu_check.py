"""The parts of the GPU check that need no GPU: its deadline, its resumption after a broken process, its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_time_left_goes_to_later_steps() -> None:
    from gpu.steps import Clock

    clock = Clock(100, {"a": 1, "b": 1, "c": 2}, start=time.monotonic())
    assert clock.begin("a") == pytest.approx(25, abs=1)
    clock.start -= 4  # "a" took 4 of its 25 seconds
    assert clock.begin("b") == pytest.approx(32, abs=1)
    assert clock.begin("c") == pytest.approx(96, abs=1)
    clock.start -= 200
    clock.shares["d"] = 1
    assert clock.begin("d") == 0


def test_limit_ends_grandchildren_too(tmp_path: Path) -> None:
    from gpu.steps import run_group

    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(mark)!r}).touch()"
    parent = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    log = tmp_path / "log"
    status = run_group([sys.executable, "-c", parent], 1, log, os.environ, tmp_path)
    assert status < 0
    time.sleep(2.5)
    assert not mark.exists()
    assert log.read_text() == "begun\n"


PLANTED = """
import os, time
import pytest

@pytest.mark.parametrize("case", range(3))
def test_fine(case): pass
def test_wrong(): assert 1 == 2
def test_dies(): os.kill(os.getpid(), 9)
def test_hangs(): time.sleep(30)
def test_after(): pass
"""


def run_planted(folder: Path, *options: str, **environment: str) -> list[int]:
    """Exit states of the runs that it takes to get through the planted file."""
    (folder / "test_planted.py").write_text(PLANTED)
    settings = {"LDIE_RESULTS": str(folder / "tests.jsonl"), "LDIE_TEST_SECONDS": "2", "PYTHONPATH": str(BENCHMARKS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "gpu.resumable", "-p", "no:cacheprovider", *options]
    states = []
    for _ in range(5):
        done = subprocess.run([*command, "test_planted.py"], cwd=folder, env={**os.environ, **settings, **environment},
                              capture_output=True, check=False)  # fmt: skip
        states.append(done.returncode)
        if done.returncode in (0, 1, 5):
            break
    return states


def final(folder: Path) -> dict[str, str]:
    from gpu import report

    return {key.split("::")[1]: row["outcome"] for key, row in report.test_outcomes(folder, "tests").items()}


def test_a_broken_process_loses_only_its_test(tmp_path: Path) -> None:
    assert run_planted(tmp_path) == [-9, 77, 0]
    fine = {f"test_fine[{case}]": "passed" for case in range(3)}
    broken = {"test_wrong": "failed", "test_dies": "crashed", "test_hangs": "hung"}
    assert final(tmp_path) == {**fine, **broken, "test_after": "passed"}


def test_first_cases_alone(tmp_path: Path) -> None:
    run_planted(tmp_path, "-k", "fine or after", LDIE_FIRST_CASES="1")
    assert final(tmp_path) == {"test_fine[0]": "passed", "test_after": "passed"}


def write_lines(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"cut o')


MEMCHECK_LOG = """\
tests/roi/test_roi_align.py::test_forward[cuda] ========= COMPUTE-SANITIZER
PASSED
tests/roi/test_roi_align.py::test_empty[cuda]
========= Invalid __global__ read of size 4 bytes
=========     at kernel+0x40
========= ERROR SUMMARY: 1 error
"""


def test_report_of_an_unfinished_run(tmp_path: Path) -> None:
    from gpu import report

    row = {
        "op": "nms",
        "case": "1k",
        "read_bytes": 6e5,
        "written_bytes": 4e5,
        "ours": {"wall": 2e-5, "hot": 1e-5, "cold": 2e-5},
    }
    peer = {"peer": {"wall": 9e-5, "hot": 4e-5}, "composed": {"error": "out of memory"}}
    write_lines(tmp_path / "benchmarks.jsonl", {"copy_bandwidth": 1e11}, row | peer)
    write_lines(tmp_path / "launches.jsonl", {"op": "nms", "case": "1k", "launches": 7, "gpu_seconds": 1.5e-5})
    write_lines(
        tmp_path / "tests.jsonl",
        {"step": "tests", "id": "f::a", "outcome": "started"},
        {"step": "tests", "id": "f::a", "outcome": "passed"},
        {"step": "tests", "id": "f::a", "outcome": "sticky", "text": "an illegal memory access"},
        {"step": "tests", "id": "f::b", "outcome": "started"},
        {"step": "memcheck", "id": "f::a", "outcome": "passed"},
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "memcheck-00.log").write_text(MEMCHECK_LOG)
    text, failed = report.summary(tmp_path)
    assert failed
    assert text.splitlines()[1].split() == ["nms", "1k", "20", "10", "20", "15", "7", "50", "50%", "-", "4.00"]
    for line in (
        "row error: nms | 1k | composed: out of memory",
        "tests: 1 sticky, 1 started",
        "  sticky f::a: an illegal memory access",
        "  1 x Invalid __global__ read of size 4 bytes | test_empty[cuda]",
        "racecheck: nothing ran",
    ):
        assert line in text.splitlines()

    machine = {"gpu": "Some GPU", "commit": "abc", "torch": "2", "torchvision": None, "date": "d"}
    (tmp_path / "machine.json").write_text(json.dumps(machine | {"nvcc": "n", "nvidia_smi": "s"}))
    done = subprocess.run([sys.executable, "-m", "gpu.report", str(tmp_path), "--out", str(tmp_path)],
                          env={**os.environ, "PYTHONPATH": str(BENCHMARKS)}, check=False)  # fmt: skip
    assert done.returncode == 1
    kept = json.loads((tmp_path / "gpu-some-gpu-abc.json").read_text())
    assert kept["checks"]["tests"]["bad"] == {"f::a": "sticky", "f::b": "started"}
    assert "| nms | 1k | 20 | 10 | 20 | 15 | 7 | 50 | 50% | - | 4.00 |" in (tmp_path / "GPU.md").read_text()
