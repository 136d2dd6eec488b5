"""Two trees measured in turn: which rows run again, and what counts as a regression."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ldie_ext

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SPIKE, WORSE, FINE = "op | spike", "op | worse", "op | fine"


Asked = list[tuple[str, tuple[str, ...], float]]


def alternation(folder: Path, asked: Asked, gone: Sequence[str] = ()) -> Any:
    """A row that is slow once, one that is slow always and one that never is; `gone` are missing in the new tree."""
    import alternate

    class Planned(alternate.Alternation):
        def run(self, name: str, raw: Path, select: Sequence[str], seconds: float) -> dict[str, Any]:
            asked.append((name, tuple(select), seconds))
            self.tests = {row: f"test of {row}" for row in (SPIKE, WORSE, FINE)}
            alone = seconds == alternate.LONG
            slow = {SPIKE: not alone, WORSE: True, FINE: False}
            rows = [row for row in slow if not alone or f"test of {row}" in select]
            new = name == "new"
            return {"rows": {row: {"seconds": {"ours": 2.0 if new and slow[row] else 1.0}}
                             for row in rows if not (new and row in gone)}}  # fmt: skip

    return Planned({"old": folder / "old", "new": folder / "new"}, folder, rounds=2)


def test_rows_above_the_tolerance_run_again_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import alternate

    asked: Asked = []
    planned = alternation(tmp_path, asked)
    assert planned.regressions(["-k", "ours"], 0.1) == [WORSE]
    turns = [(name, select) for name, select, _ in asked]
    every, spike, worse = ("-k", "ours"), (f"test of {SPIKE}",), (f"test of {WORSE}",)
    assert turns == [(name, select) for select in (every, spike, worse) for name in ("old", "new") * 2]
    assert [seconds for *_, seconds in asked] == 4 * [alternate.SHORT] + 8 * [alternate.LONG]
    printed = capsys.readouterr().out.splitlines()
    assert "SLOWER    2.00x the time  op | spike" in printed
    assert "again: ok        1.00x the time  op | spike" in printed


def test_a_row_that_is_gone_is_a_regression(tmp_path: Path) -> None:
    planned = alternation(tmp_path, [], gone=[FINE])
    assert planned.regressions([], 0.1) == [WORSE, FINE]


def test_a_tree_without_the_package_is_refused(tmp_path: Path) -> None:
    import alternate

    with pytest.raises((RuntimeError, subprocess.CalledProcessError)):
        alternate.Alternation({}, tmp_path, 1).check_package(tmp_path)


def test_a_small_row_the_whole_way(tmp_path: Path) -> None:
    """The package that is tested against itself."""
    pytest.importorskip("pytest_benchmark")
    tree = str(Path(ldie_ext.__file__).parents[1])
    command = [sys.executable, str(BENCHMARKS / "alternate.py"), tree, tree, "--rounds", "1"]
    command += ["--threads", "1", "-k", "bench_keypoint_targets and 128", "--tolerance", "1e9", "--out", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}  # xdist: no timing
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keypoint_targets | 128x17, 56x56 cells | cpu, 1 threads" in done.stdout
    kept = json.loads((tmp_path / "all-new-0.json").read_text())
    (row,) = kept["rows"].values()
    assert row["read_bytes"] == 128 * (17 * 3 + 4) * 4
    assert row["seconds"].keys() == {"ours"}
