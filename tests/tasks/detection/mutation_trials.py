# SPDX-License-Identifier: Apache-2.0
"""Loads, draws, trains one step on and evaluates malformed data sets: each is taken, or refused by one line.

    python tests/tasks/detection/mutation_trials.py --count 300 --seed 0 --photographs DIR

Every data set is tried in a process of its own, with limits of memory and time. Prints what came of each and exits 1
where one ended in anything but success or one line on stderr before training: a crash, a hang, a traceback, warnings.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # no thread is there when a process is forked
    sys.path[:0] = [str(Path(__file__).parents[2])]

import hotcoco  # noqa: F401  (what the commands import, once for all)
import matplotlib.pyplot  # noqa: F401
import torch
from ldie import console
from ldie.cli import main as ldie
from ldie.tasks.detection import build_shapes, open_splits
from ldie.tasks.detection import task as detection_task  # noqa: F401
from PIL import Image
from tasks.detection.mutated_coco import SPLITS, build

MEMORY = 8 << 30
CPU_SECONDS, WALL_SECONDS = 60, 120
TRAIN = ["--device", "cpu", "--set", "solver.max_iter=1", "solver.batch_size=2", "solver.log_step=1"]
STEPS: dict[str, Callable[[Path, Path], int]] = {
    "load": lambda root, work: _load(root),
    "draw": lambda root, work: _draw(root, work, SPLITS[0]),
    "draw what to evaluate on": lambda root, work: _draw(root, work, SPLITS[1]),
    "train": lambda root, work: ldie(
        ["train", "centernet", "--data", str(root), "--work-dir", str(work / "run"), *TRAIN]
    ),
    "evaluate": lambda root, work: ldie(["eval", str(work / "run"), "--device", "cpu"]),
}


def _load(root: Path) -> int:
    try:
        open_splits(root, SPLITS)
    except Exception as error:
        message = console.one_line(error)
        if message is None:
            raise
        console.say(message)
        return 1
    return 0


def _draw(root: Path, work: Path, split: str) -> int:
    return ldie(["show", "--data", str(root), "--split", split, "--out", str(work / "shown")])


def trial(root: Path, work: Path) -> tuple[str, str]:
    """What came of a data set: "taken", "refused at STEP", or "FAILED at STEP"; and what was said."""
    work.mkdir()
    for step, command in STEPS.items():
        errors = work / f"{step}.err"
        status = _run(lambda command=command: command(root, work), errors, work / f"{step}.out")
        said = errors.read_text(errors="replace")
        if status == "0":
            continue
        line = said.startswith("ldie: ") and said.count("\n") == 1 and len(said) < 1000 + 2 * len(str(root))
        if status == "1" and line and not any((work / "run").rglob("*.safetensors")):
            return f"refused at {step}", said.strip()
        return f"FAILED at {step}", f"{status}: {said.strip()[-2000:]}"
    return "taken", ""


def _run(command: Callable[[], int], errors: Path, output: Path) -> str:
    """Exit status of a command in a process of its own with its limits; what it says goes to files."""
    process = os.fork()
    if process == 0:
        status = 70
        with contextlib.suppress(BaseException):
            for stream, path in ((1, output), (2, errors)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # whatever they were before
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            status = _called(command)
        os._exit(status)
    end = time.monotonic() + WALL_SECONDS
    while not (done := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(process, 9)
            os.waitpid(process, 0)
            return "hangs"
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(done[1])
    return f"killed by signal {-code}" if code < 0 else str(code)


def _called(command: Callable[[], int]) -> int:
    try:
        status = command()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def sources(folder: Path, photographs: Path | None) -> list[Path]:
    """Sound data sets to damage."""
    made = [build_shapes(folder / name, hard=name == "hard", train=6, val=6, size=64) for name in ("plain", "hard")]
    return [*made, *([photographs] * 2 if photographs else [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="how many data sets (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the slips (default: %(default)s)")
    parser.add_argument("--photographs", type=Path, help="folder of a small COCO; half of the data sets are of it")
    parser.add_argument("--keep", type=Path, help="folder for the data sets that failed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    Image.init()
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = sources(folder, options.photographs)
        for number in range(options.count):
            seed = options.seed * 1_000_000 + number
            root, work = folder / f"case{seed}", folder / f"work{seed}"
            slips = build(root, sound[number % len(sound)], seed)
            outcome, said = trial(root, work)
            outcomes[outcome] += 1
            print(f"{seed} {outcome} [{slips}] {said.replace(name, '')}", flush=True)
            if outcome.startswith("FAILED") and options.keep:
                shutil.copytree(root, options.keep / root.name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root)
            shutil.rmtree(work)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    return int(any(outcome.startswith("FAILED") for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
