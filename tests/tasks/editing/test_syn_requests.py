# SPDX-License-Identifier: Apache-2.0
"""SynEdit with requests in a folder: the answer is what was asked for, and splits share nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.sample import EditSample
from ldie.tasks.editing.synedit import syn_requests
from ldie.tasks.editing.synedit.request_plans import SPLITS
from ldie.tasks.editing.synedit.syn_requests import SynRequests, SynRequestsConfig

from ldie_ext import EditOp, apply_edits

CONFIG = SynRequestsConfig(train=120, val=40, paraphrase=40, combination=40, local=0.4, seed=3)
GOLDEN = "8c49499f09f8c570"
"""Of 120 samples, on every machine. Where the generator is to change, FORMAT goes up with it."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    for split in SPLITS:
        SynRequests(folder, CONFIG, split)
    return folder


def samples(cache: Path, split: str) -> list[EditSample]:
    data = SynRequests(cache, CONFIG, split)
    return [data[i] for i in range(len(data))]


def answer(sample: EditSample, steps: int | None = None) -> torch.Tensor:
    """What the steps, or the first of them, make of the source."""
    assert sample.steps is not None
    ops, params = sample.steps.ops[None, :steps], sample.steps.params[None, :steps]
    masks = None if sample.region is None else sample.region[None]
    return apply_edits(sample.source[None], ops, params, masks, None if masks is None else torch.zeros_like(ops))[0]


@pytest.mark.parametrize("split", SPLITS)
def test_the_target_is_what_the_steps_make_of_the_source(cache: Path, split: str) -> None:
    for sample in samples(cache, split):
        assert sample.target is not None and torch.equal(answer(sample), sample.target)
        assert sample.operators == {EditOp(op).name for op in sample.steps.ops.tolist()}
        assert len(sample.operators) == len(sample.steps) and 1 <= len(sample.steps) <= 3
        assert (sample.kind == "referring") <= (sample.region is not None) <= (sample.kind != "plain")


def test_what_it_says_of_itself(cache: Path) -> None:
    data = SynRequests(cache, CONFIG, "val")
    assert len(data) == 40 and data.requests()[7] == data[7].request and data[7].key == "val-000007"
    assert data.operators == tuple(op.name for op in CONFIG.operators) and data.origin == str(data.folder)
    assert data[-1].key == "val-000039"
    with pytest.raises(IndexError, match="index must be below 40, got 40"):
        data[40]


def test_the_same_bytes_everywhere(cache: Path) -> None:
    total = hashlib.sha256()
    for sample in samples(cache, "train"):
        total.update(sample.request.encode() + sample.source.numpy().tobytes() + sample.target.numpy().tobytes())
        total.update(sample.steps.params.numpy().tobytes())
    assert total.hexdigest()[:16] == GOLDEN


def test_a_sample_does_not_depend_on_how_many_there_are(cache: Path, tmp_path: Path) -> None:
    few = SynRequests(tmp_path, replace(CONFIG, train=5, val=1), "train")[4]
    many = SynRequests(cache, CONFIG, "train")[4]
    assert few.request == many.request and torch.equal(few.target, many.target)
    assert (tmp_path / f"synrequests-train-{replace(CONFIG, train=5).key('train')}").is_dir(), "val has no say in train"


def test_no_two_splits_share_a_picture(cache: Path) -> None:
    pictures = [sample.source.numpy().tobytes() for split in SPLITS for sample in samples(cache, split)]
    assert len(set(pictures)) == len(pictures) == 240


def test_fixing_makes_the_mean_of_v_55(cache: Path) -> None:
    fixes = [sample for split in SPLITS for sample in samples(cache, split) if sample.kind == "fix"]
    assert len(fixes) > 10
    for sample in fixes:
        step = sample.steps.ops.tolist().index(EditOp.BRIGHTNESS)
        value = answer(sample, step + 1).amax(0).float()
        value = value if sample.region is None else value[sample.region]
        assert value.mean() / 255 == pytest.approx(0.55, abs=0.004)
    params = torch.tensor([sample.steps.params[0, 0] for sample in fixes if sample.steps.ops[0] == EditOp.BRIGHTNESS])
    assert params.std() > 0.2, "words alone must not do"


def test_a_requests_words_decide_its_steps(cache: Path) -> None:
    known: dict[str, list[float]] = {}
    for sample in samples(cache, "train") + samples(cache, "val"):
        if sample.kind != "fix":
            steps = sample.steps.ops.tolist() + sample.steps.params.flatten().tolist()
            assert known.setdefault(sample.request, steps) == steps


def test_what_is_whole_is_not_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syn_requests, "synedit_scene", None)
    assert len(SynRequests(cache, CONFIG, "train")) == 120


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "targets.npy").read_bytes())
    content[-100] ^= 1
    (folder / "targets.npy").write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, lambda folder: (folder / "requests.json").write_text("{}")])
def test_damage_is_noticed_and_repaired(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(CONFIG, val=2)
    folder = SynRequests(tmp_path, config, "val").folder
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    with caplog.at_level(logging.WARNING, "ldie"):
        SynRequests(tmp_path, config, "val")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert list(tmp_path.iterdir()) == [folder] and "made again" in caplog.text


def test_no_region_at_all(tmp_path: Path) -> None:
    config = replace(CONFIG, val=3, local=0, operators=(EditOp.BLUR,), steps=(1, 1))
    data = SynRequests(tmp_path, config, "val")
    assert [data[i].region for i in range(3)] == [None] * 3
    assert json.loads((data.folder / "requests.json").read_text())["samples"][0]["region"] == -1


def test_every_option_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        replace(CONFIG, train=4), replace(CONFIG, seed=6), replace(CONFIG, size=33), replace(CONFIG, steps=(1, 2)),
        replace(CONFIG, operators=CONFIG.operators[:4]), replace(CONFIG, local=0.3), replace(CONFIG, fix=0.5),
    ]  # fmt: skip
    keys = {config.key("train") for config in (CONFIG, *others)} | {CONFIG.key("val")}
    monkeypatch.setattr(syn_requests, "FORMAT", syn_requests.FORMAT + 1)
    assert len(keys | {CONFIG.key("train")}) == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": 0}, "train must be at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"size": 2000}, "size must be 32 to 1024, got 2000"),
        ({"steps": (0, 2)}, "steps must be at least 1"),
        ({"local": -1}, "local must be a share from 0 to 1, got -1"),
        ({"fix": 2}, "fix must be a share from 0 to 1, got 2"),
        ({"operators": (EditOp.EDGE,)}, "operators must be some of BRIGHTNESS, .*, got EDGE"),
        ({"operators": (EditOp.BLUR, EditOp.BLUR)}, "operators must be at least one, each once"),
        ({"operators": ()}, "operators must be at least one, each once"),
    ],
)
def test_a_configuration_out_of_range(options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        SynRequestsConfig(**options)


def test_a_split_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="split must be one of train, val, paraphrase, combination, got test"):
        SynRequests(tmp_path, CONFIG, "test")
    with pytest.raises(ConfigError, match="combination: BRIGHTNESS have no combination"):
        SynRequests(tmp_path, replace(CONFIG, operators=(EditOp.BRIGHTNESS,)), "combination")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be generated .*; free space or choose another folder"):
        SynRequests(tmp_path / "file", replace(CONFIG, val=1), "val")
