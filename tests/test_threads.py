"""The command line's threads: asleep while they wait, and no more than a container's quota lets run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ldie import threads


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
        ({}, None),
    ],
)
def test_quota_of_a_container(files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads.cpu_quota(tmp_path) == cores


@pytest.mark.parametrize(
    ("quota", "given", "policy", "count"),
    [
        (None, {}, "passive", None),
        (0.5, {}, "passive", "1"),
        (1e6, {}, "passive", None),  # more than there are: OpenMP counts them itself
        (0.5, {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"}, "active", "3"),
    ],
)
def test_environment_wins_over_defaults(
    quota: float | None, given: dict[str, str], policy: str, count: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    threads.share_cores()
    assert os.environ["OMP_WAIT_POLICY"] == policy
    assert os.environ.get("OMP_NUM_THREADS") == count


def test_command_line_sets_them_before_torch_is_loaded() -> None:
    """OpenMP itself says by what it goes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_DISPLAY_ENV": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "ldie", "info"], env=environment, capture_output=True, text=True, check=True
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
