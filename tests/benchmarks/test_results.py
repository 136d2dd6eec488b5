"""The benchmark files' life: raw run -> result file and table -> comparison that fails on a regression."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report, compare = load("report"), load("compare")


def entry(variant: str, median: float, *, peak: int | None = None) -> dict[str, Any]:
    info = {"op": "nms", "case": "1k", "variant": variant, "threads": 2}
    info |= {"moved_bytes": 4_000_000} | ({} if peak is None else {"peak_memory": peak})
    return {"group": "nms | 1k | cpu, 2 threads", "extra_info": info, "stats": {"median": median, "rounds": 9}}


def raw_run(ours: float, peer: float) -> dict[str, Any]:
    machine = {"cpu": {"brand_raw": "Some CPU (R)"}, "torch": "2.13.0", "torchvision": "0.29.1",
               "commit": "abc", "libraries": ["_C"], "python_version": "3.11"}  # fmt: skip
    entries = [entry("ours", ours, peak=2**20), entry("peer", peer), entry("composed", 0.002, peak=2**22)]
    return {"machine_info": machine, "datetime": "2026-01-02T03:04:05", "benchmarks": entries}


def test_result_file_and_table(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    raw.write_text(json.dumps(raw_run(ours=1e-3, peer=1e-2)))
    command = [sys.executable, str(BENCHMARKS / "report.py"), str(raw), "--out", str(tmp_path / "results")]
    subprocess.run(command, check=True, capture_output=True)
    result = json.loads((tmp_path / "results" / "some-cpu-r-abc.json").read_text())
    (row,) = result["rows"].values()
    assert row["seconds"] == pytest.approx({"ours": 1e-3, "peer": 1e-2, "composed": 2e-3})
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "| nms | 1k | cpu x2 | 1 ms | 2.00x | 10.00x | 4 | 1.0 MiB (25.0% of composed) |" in text


@pytest.mark.parametrize(
    ("ours", "peer", "code"),
    [
        (1e-3, 1e-2, 0),
        (1.2e-3, 1e-2, 0),  # within the tolerance
        (2e-3, 1e-2, 1),
        (2e-3, 2e-2, 0),  # a machine half as fast is no regression
    ],
)
def test_compare_fails_on_regression(tmp_path: Path, ours: float, peer: float, code: int) -> None:
    for name, run in {"old": raw_run(1e-3, 1e-2), "new": raw_run(ours, peer)}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(report.condense(run)))
    command = [sys.executable, str(BENCHMARKS / "compare.py"), str(tmp_path / "old.json"), str(tmp_path / "new.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    assert ("SLOWER" in done.stdout) == bool(code)


def test_compare_fails_on_a_missing_row() -> None:
    old = report.condense(raw_run(1e-3, 1e-2))
    lines, failed = compare.compare(old, {"rows": {}}, 0.3)
    assert failed
    assert lines == ["MISSING  nms | 1k | cpu, 2 threads"]
