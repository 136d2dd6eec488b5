# SPDX-License-Identifier: Apache-2.0
"""A run of the editor by the command line: what it writes, how it goes on, what it refuses; it learns by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ldie.cli import main
from PIL import Image

SMALL = [
    "model.language.hidden=16", "model.language.embedding=16", "model.image.code=16", "model.image.widths=8,8",
    "dataset.val_count=6", "solver.log_step=2", "solver.warmup_iter=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"dataset.cache={tmp_path_factory.mktemp('cache')}"


def train(work: Path, *options: str, sets: tuple[str, ...] = ()) -> int:
    return main(["train", "editing", "--work-dir", str(work), "--device", "cpu", *options, "--set", *SMALL, *sets])


def test_a_run_from_beginning_to_end(tmp_path: Path, cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "run"
    few = ("dataset.count=12", "solver.batch_size=4", "solver.max_iter=4", "dataset.min_count=1", cache)
    assert train(work, sets=few) == 0
    metrics = json.loads((work / "metrics.json").read_text())
    assert metrics["actor/l1_input"] > 0 and 0 <= metrics["actor/sequence_exact"] <= 1
    assert "</html>" in (work / "requests.html").read_text()
    for name in ("edits.png", "loss.png"):
        with Image.open(work / "pictures" / name) as picture:
            assert picture.width > 100
    assert main(["eval", str(work), "--split", "paraphrase", "--out", str(tmp_path / "eval"), "--device", "cpu"]) == 0
    assert (tmp_path / "eval" / "requests.html").exists()
    assert main(["index", str(work), "--out", str(tmp_path / "index.html")]) == 0
    assert "run/requests.html" in (tmp_path / "index.html").read_text()
    capsys.readouterr()
    assert train(work, "--resume", sets=("solver.training=l1", cache)) == 1
    assert "solver.training" in capsys.readouterr().err
    assert train(tmp_path / "next", sets=(*few, f"solver.pretrained={work}/checkpoints/best.safetensors")) == 0


def test_it_learns_by_heart(tmp_path: Path, cache: str) -> None:
    sets = ("solver.max_iter=150", "solver.lr=0.01", "dataset.count=8", "dataset.val_count=8", "dataset.limit=8", cache)
    assert train(tmp_path, "--preset", "overfit", sets=sets) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["actor/sequence_exact"] == 1
    assert metrics["actor/l1_gain"] > 3


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("dataset.root=nowhere",), "nowhere: no such folder; give synedit or"),
        (("dataset.train=train2017",), "split must be one of"),
        (("dataset.plans=nowhere.json",), "nowhere.json: no such file of plans"),
        (("solver.training=gan",), "discriminator.scales must be at least 1"),
        (("model.language.glove=nowhere.txt",), "nowhere.txt: no such file"),
    ],
)
def test_what_cannot_be_trained_on(
    sets: tuple[str, ...], message: str, tmp_path: Path, cache: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", sets=("dataset.count=4", "dataset.min_count=1", cache, *sets)) == 1
    error = capsys.readouterr().err
    assert message in error and error.strip().splitlines()[-1].startswith("ldie: ")
    assert not (tmp_path / "run" / "checkpoints").exists()
