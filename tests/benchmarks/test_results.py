"""The benchmark files' life: raw run -> result file and table -> comparison that fails on a regression."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ROW = "nms | 1k | cpu, 2 threads"
POINTS = [(1 << 20, 20e9), (64 << 20, 10e9)]
RATES: dict[str, Any] = {"read": [(1 << 20, 20e9), (64 << 20, 20e9)], "fill": [(1 << 20, 5e9), (64 << 20, 5e9)],
                         "copy": POINTS, "sgemm": 100e9, "fresh_small_pages": 1e9, "fresh_huge_pages": 2e9,
                         "call_seconds": 1e-6}  # fmt: skip


def entry(variant: str, median: float, *, peak: int | None = None) -> dict[str, Any]:
    info = {"op": "nms", "case": "1k", "variant": variant, "threads": 2}
    info |= {"read_bytes": 3_000_000, "written_bytes": 1_000_000} | ({} if peak is None else {"peak_memory": peak})
    return {"group": "nms | 1k | cpu, 2 threads", "extra_info": info, "stats": {"median": median, "rounds": 9}}


def raw_run(ours: float, peer: float) -> dict[str, Any]:
    machine = {"cpu": {"brand_raw": "Some CPU (R)"}, "torch": "2.13.0", "torchvision": "0.29.1",
               "commit": "abc", "libraries": ["_C"], "python_version": "3.11", "floor": {"2": RATES}}  # fmt: skip
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
    assert "| nms | 1k | cpu x2 | 1 ms | 2.00x | 10.00x | 4 | 22% | 1.0 MiB (25.0% of composed) |" in text
    assert "| 2 | copy, GB/s | 20 | 10 |" in text
    assert "With 2 threads sgemm reaches 100 GFLOP/s." in text


def shown(seconds: float, **least: Any) -> str:
    import report

    return report.share_of_floor({"seconds": {"ours": seconds}, **least}, RATES)


def test_floor_is_marked_where_something_else_decides() -> None:
    assert shown(1e-3, read_bytes=20_000_000, written_bytes=0) == "100%"
    assert shown(1e-3, read_bytes=1_000_000, written_bytes=0) == "5%"
    assert shown(1e-3, read_bytes=4000, written_bytes=0) == "0.02%, call"
    assert shown(0.1, read_bytes=0, written_bytes=50_000_000) == "10%, pages"
    assert shown(0.1, read_bytes=0, written_bytes=50_000_000, given_output=True) == "10%"
    assert shown(1e-3) == "-"


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
    import report

    for name, run in {"old": raw_run(1e-3, 1e-2), "new": raw_run(ours, peer)}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(report.condense(run)))
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "--old", str(tmp_path / "old.json")]
    command += ["--new", str(tmp_path / "new.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    assert ("SLOWER" in done.stdout) == bool(code)


def test_compare_fails_on_a_missing_row() -> None:
    import compare
    import report

    old = report.condense(raw_run(1e-3, 1e-2))
    assert compare.slower(old, {"rows": {}}, 0.3) == [ROW]
    assert compare.lines(old, {"rows": {}}, 0.3) == [f"MISSING  {ROW}"]


def test_medians_of_several_runs(tmp_path: Path) -> None:
    """One slow run of three is no regression; two are."""
    import compare
    import report

    fast, slow = (report.condense(raw_run(ours, 1e-2)) for ours in (1e-3, 2e-3))
    old = compare.medians([fast, slow, fast])
    assert old["rows"][ROW]["seconds"] == {"ours": 1e-3, "peer": 1e-2, "composed": 2e-3}
    assert compare.slower(old, compare.medians([slow, fast, fast]), 0.1) == []
    assert compare.slower(old, compare.medians([slow, fast, slow]), 0.1) == [ROW]
    for name, result in (("fast", fast), ("slow", slow)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    files = {name: str(tmp_path / f"{name}.json") for name in ("fast", "slow")}
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "--old", files["fast"], "--new"]
    for names, code in ((("slow", "fast", "fast"), 0), (("slow", "slow", "fast"), 1)):
        done = subprocess.run([*command, *(files[name] for name in names)], check=False, capture_output=True)
        assert done.returncode == code
