# SPDX-License-Identifier: Apache-2.0
"""Editing as a task: its data by name, its facts, its messages."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from ldie.cli import main
from ldie.config import merge
from ldie.errors import ConfigError, DataError
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.presets import TINY
from ldie.tasks.editing import TASK
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSequence
from PIL import Image

SMALL = {"count": 12, "val_count": 6, "min_count": 1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def config_of(cache: Path, **data: object) -> EditorConfig:
    return merge(TINY, {"dataset": {**SMALL, "cache": str(cache), **data}})


def test_splits_by_name(cache: Path) -> None:
    train, val = TASK.open(config_of(cache), ("train", "val"))
    assert (len(train), len(val)) == (12, 6)
    assert not {sample.key for sample in train} & {sample.key for sample in val}
    (first,) = TASK.open(config_of(cache, limit=5), ("train",))
    assert len(first) == 5
    assert len(first.requests()) == 5
    assert first[4].request == train[4].request and torch.equal(first[4].target, train[4].target)
    assert len(first.dataset) == 5  # no more are made
    with pytest.raises(IndexError):
        first[5]


def test_facts_are_operators_and_words(cache: Path) -> None:
    (train,) = TASK.open(config_of(cache), ("train",))
    facts = TASK.facts(train)
    TASK.validate(json.loads(json.dumps(facts)))
    assert facts["operators"] == list(train.operators)
    assert set(facts["vocabulary"]) >= set(re.findall("[a-z]{2,}", train[0].request.lower()))
    assert TASK.facts_without_data(TINY)["operators"]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"operators": [], "vocabulary": ["make"]},
        {"operators": ["SHINE"], "vocabulary": ["make"]},
        {"operators": ["BLUR"], "vocabulary": "make"},
        {"operators": ["BLUR"], "vocabulary": ["make", "make"]},
        {"operators": ["BLUR"], "vocabulary": [3]},
        {"operators": [[]], "vocabulary": ["make"]},
    ],
)
def test_facts_that_are_none(facts: dict) -> None:
    with pytest.raises(ValueError):
        TASK.validate(facts)


def test_a_model_without_the_operators_cannot_be_measured(cache: Path) -> None:
    (val,) = TASK.open(config_of(cache), ("val",))
    with pytest.raises(DataError, match="does not have"):
        TASK.check(val, {"operators": ["BLUR"], "vocabulary": ["make"]}, "other.safetensors")


def test_metrics_of_the_truth_and_of_doing_nothing(cache: Path) -> None:
    (val,) = TASK.open(config_of(cache), ("val",))
    samples = [val[i] for i in range(len(val))]
    truth = {each.key: EditPrediction(each.steps, each.target) for each in samples}
    metrics = TASK.metrics(val, truth)
    assert metrics["actor/sequence_exact"] == 1
    assert metrics["actor/l1"] == 0
    nothing = {each.key: EditPrediction(EditSequence.empty(), each.source) for each in samples}
    metrics = TASK.metrics(val, nothing)
    assert metrics["actor/sequence_exact"] == 0
    assert metrics["actor/l1"] == metrics["actor/l1_input"] > 0
    assert "actor/l1" in TASK.headline(metrics)
    assert [type(each) for each in TASK.inputs(samples)] == [EditInput] * len(val)


def test_what_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; give synedit or"):
        TASK.open(config_of(tmp_path, root=str(tmp_path / "gone")), ("train",))
    with pytest.raises(DataError, match=r"has neither .*train_sess_1\.json nor .*train_sess_3\.json"):
        TASK.open(config_of(tmp_path, root=str(tmp_path)), ("train",))
    with pytest.raises(ConfigError, match="split must be one of"):
        TASK.open(config_of(tmp_path), ("train2017",))


def test_show_draws_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASK, "data", lambda **given: dataclasses.replace(config_of(tmp_path).dataset, **given))
    assert main(["show", "--task", "editing", "--data", "synedit", "--count", "3", "--out", str(tmp_path)]) == 0
    with Image.open(tmp_path / "train.png") as sheet:
        assert sheet.width > 300


def test_predict_needs_a_request(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ldie edit"):
        TASK.predict(None, [], tmp_path)  # type: ignore[arg-type]
