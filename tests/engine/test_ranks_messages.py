# SPDX-License-Identifier: Apache-2.0
"""What stops a run on two ranks is said once, in one line, and no rank prints a traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engine.command import FAST
from ldie.engine.lock import RunLock

SCRIPT = Path(__file__).with_name("two_ranks_command.py")


def lines_of_ranks(arguments, logs):
    """What each of two ranks printed to stderr when the command failed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--redirects", "3", "--log-dir", str(logs), str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    files = sorted(logs.rglob("stderr.log"))
    assert done.returncode == 1 and len(files) == 2, done.stderr[-3000:]
    texts = [line for file in files for line in file.read_text().splitlines()]
    return [line for line in texts if not line.startswith("[rank")]  # torch's own, of gloo


@pytest.fixture
def train(data_dir, tmp_path):
    return ["train", "toy", "--data", data_dir, "--work-dir", tmp_path / "run", *FAST]


def test_what_all_ranks_find_wrong(train, tmp_path):
    (line,) = lines_of_ranks([*train, "solver.lrr=1"], tmp_path / "logs")
    assert line == "ldie: unknown configuration key solver.lrr; did you mean solver.lr?"


def test_what_only_the_first_rank_finds_wrong(train, tmp_path):
    (tmp_path / "run").mkdir()
    lock = RunLock(tmp_path / "run")
    (line,) = lines_of_ranks(train, tmp_path / "logs")
    assert line.startswith(f"ldie: {tmp_path / 'run'}: another run is writing there (process {os.getpid()})")
    lock.release()


def test_what_ends_one_rank_while_the_other_waits_for_it(train, data_dir, tmp_path):
    broken = Path(shutil.copytree(data_dir, tmp_path / "data"))
    image = broken / "train2017" / "003.png"
    image.write_bytes(image.read_bytes()[:60])
    lines = lines_of_ranks([*train, "--data", broken], tmp_path / "logs")
    assert any(line.startswith(f"ldie: {image}: not a readable image") for line in lines), lines
    assert all(line.startswith(f"ldie: {image}: ") or "another process of this run has ended" in line for line in lines)
    assert len(lines) <= 2
