# SPDX-License-Identifier: Apache-2.0
"""A few of the malformed data sets of mutation_trials.py; hundreds take minutes: see there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ldie.tasks.detection import DataError, open_splits
from ldie.tasks.detection.metrics import coco_metrics
from tasks.detection import mutated_coco
from tasks.detection.coco_files import perfect
from tasks.detection.mutated_coco import build

pytest.importorskip("hotcoco")  # which the trials import
from tasks.detection import mutation_trials

SCRIPT = Path(__file__).with_name("mutation_trials.py")


def test_malformed_data_is_taken_or_refused_by_one_line(request: pytest.FixtureRequest) -> None:
    try:
        photographs = ["--photographs", str(request.getfixturevalue("photographs"))]
    except pytest.skip.Exception:  # generated images then
        photographs = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), "--count", "8", "--seed", "5", *photographs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9 and "FAILED" not in lines[-1] and "taken" in lines[-1] and "refused at load" in lines[-1]


def test_what_is_loaded_is_evaluated(tmp_path: Path, hard_shapes: Path) -> None:
    taken = refused = 0
    for seed in range(40):
        build(tmp_path / str(seed), hard_shapes, seed)
        try:
            splits = open_splits(tmp_path / str(seed), mutated_coco.SPLITS)
            samples = [[split[i] for i in range(len(split))] for split in splits]
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        taken += 1
        for split, found in zip(splits, samples):
            metrics = coco_metrics(split, {sample.image_id: perfect(sample) for sample in found})
            assert all(value == -1 or 0 <= value <= 1 for value in metrics.values())
    assert min(taken, refused) > 5


def test_the_slips_of_a_seed_are_always_the_same(tmp_path: Path, shapes: Path) -> None:
    for seed in range(20):
        roots = [tmp_path / f"{seed}{copy}" for copy in "ab"]
        first, second = (build(root, shapes, seed) for root in roots)
        assert first == second != ""
        files = [sorted(path.relative_to(root) for path in root.rglob("*")) for root in roots]
        assert files[0] == files[1]
        for file in files[0]:
            path = roots[0] / file
            assert not path.is_file() or path.read_bytes() == (roots[1] / file).read_bytes()


def say(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status


def stop(number: signal.Signals) -> int:
    signal.raise_signal(number)
    return 0


ENDS: list[tuple[Callable[[], int], str]] = [
    (lambda: 0, "taken"),
    (lambda: say("a warning", 0), "taken"),
    (lambda: say("ldie: file: wrong; correct it", 1), "refused at load"),
    (lambda: say("ldie: one\nldie: two", 1), "FAILED at load"),
    (lambda: say("a warning\nldie: file: wrong", 1), "FAILED at load"),
    (lambda: say("", 1), "FAILED at load"),
    (lambda: say("ldie: " + "x" * 5000, 1), "FAILED at load"),
    (lambda: say("ldie: wrong usage", 2), "FAILED at load"),
    (lambda: 1 // 0, "FAILED at load"),
    (lambda: len(bytearray(mutation_trials.MEMORY)), "FAILED at load"),
    (lambda: stop(signal.SIGKILL), "FAILED at load"),
    (lambda: stop(signal.SIGXCPU), "FAILED at load"),
]


@pytest.mark.parametrize(("end", "outcome"), ENDS)
def test_how_a_trial_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], int], outcome: str
) -> None:
    monkeypatch.setattr(mutation_trials, "STEPS", {"load": lambda root, work: end()})
    assert mutation_trials.trial(tmp_path, tmp_path / "work")[0] == outcome


def test_hangs_and_refusals_after_training_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_late(root: Path, work: Path) -> int:
        (work / "run").mkdir()
        (work / "run" / "step.safetensors").touch()
        return say("ldie: file: wrong; correct it", 1)

    monkeypatch.setattr(mutation_trials, "STEPS", {"train": refuse_late})
    assert mutation_trials.trial(tmp_path, tmp_path / "late")[0] == "FAILED at train"
    monkeypatch.setattr(mutation_trials, "STEPS", {"draw": lambda root, work: signal.pause() or 0})
    monkeypatch.setattr(mutation_trials, "WALL_SECONDS", 0.1)
    outcome, said = mutation_trials.trial(tmp_path, tmp_path / "hang")
    assert (outcome, said) == ("FAILED at draw", "hangs: ")
