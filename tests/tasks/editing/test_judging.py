"""The tasks of the two judges: labels of requests, and answers among pictures that are none."""

from __future__ import annotations

import csv

import pytest
import torch
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.judges.judging import JudgingTask
from ldie.tasks.editing.judges.labels import LabellingTask
from ldie.tasks.editing.judges.negatives import KINDS, WithNegatives, kind_of
from ldie.tasks.editing.metrics.request_metrics import NEGATIVE
from ldie.tasks.editing.sample import EditInput, EditPrediction, JudgedInput
from tasks.editing.small_requests import SmallRequests, sample

JUDGING, LABELLING = JudgingTask(), LabellingTask()


class Labelled(SmallRequests):
    """Annotators name operators without a number too."""

    labels = ("BRIGHTNESS", "SATURATION", "CROP")


def judged(data: WithNegatives, real: set[str]) -> dict[str, EditPrediction]:
    """Predictions that take for real what is an answer, and negatives of some kinds."""
    samples = [data[index] for index in range(len(data))]
    return {
        each.key: EditPrediction(realness=torch.tensor(0.9 if each.kind != NEGATIVE or kind_of(each) in real else 0.2))
        for each in samples
    }


def test_negatives_are_counted_by_kind():
    data = WithNegatives(SmallRequests(12))
    metrics = JUDGING.metrics(data, judged(data, {"amount", "black"}))
    assert metrics["discriminator/accuracy"] == pytest.approx(20 / 24)
    assert metrics["discriminator/negatives"] == pytest.approx(8 / 12)
    kinds = {kind: metrics[f"discriminator/negatives-{kind}"] for kind in KINDS}
    assert kinds == {kind: float(kind not in ("amount", "black")) for kind in KINDS}
    assert JUDGING.headline(metrics).keys() == {"discriminator/accuracy", "discriminator/negatives"}
    assert "black         0.000" in JUDGING.table(metrics).splitlines()


def test_what_is_judged_is_the_target_and_no_steps_are_given():
    given = sample("brighter", 2)
    (item,) = JUDGING.inputs([given])
    assert isinstance(item, JudgedInput)
    assert torch.equal(item.picture, given.target)
    assert torch.equal(item.image, given.source)


def test_scores_are_written_for_every_picture(tmp_path):
    data = WithNegatives(SmallRequests(6))
    JUDGING.report(tmp_path, data, judged(data, set()), None)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["negative"] for row in rows] == [""] * 6 + [kind_of(data[index]) for index in range(6, 12)]
    assert {row["realness"] for row in rows} == {"0.9000", "0.2000"}


def test_what_cannot_be_judged_is_said():
    given = sample("brighter")
    with pytest.raises(DataError, match=r"input 1: a JudgedInput .* is required, got EditInput"):
        JUDGING.infer(None, [JUDGING.inputs([given])[0], EditInput(given.source, "brighter")])
    with pytest.raises(DataError, match="input 0: picture and image must have one size"):
        JUDGING.infer(None, JudgedInput(given.source, "brighter", picture=given.source[:, :3]))
    with pytest.raises(ConfigError, match="no second picture"):
        JUDGING.predict(None, [], None)


def test_labels_are_names_also_of_operators_without_a_number(tmp_path):
    data = Labelled(4)
    facts = LABELLING.facts(data)
    assert facts["labels"] == ["BRIGHTNESS", "SATURATION", "CROP"]
    assert facts["operators"] == ["BRIGHTNESS", "SATURATION"]
    LABELLING.validate(facts)
    with pytest.raises(ValueError, match="labels"):
        LABELLING.validate({**facts, "labels": []})
    assert LABELLING.facts(SmallRequests(4))["labels"] == ["BRIGHTNESS", "SATURATION"]


def test_a_model_must_know_the_labels_of_the_data():
    facts = LABELLING.facts(SmallRequests(4))
    with pytest.raises(DataError, match="small requests: requests ask for CROP, which a run does not know"):
        LABELLING.check(Labelled(4), facts, "a run")
    LABELLING.check(SmallRequests(4), LABELLING.facts(Labelled(4)), "a run")


def test_scores_are_measured_and_written_by_name(tmp_path):
    """In the model's order, with a label that the data does not have."""
    data, labels = SmallRequests(9), ("CROP", "SATURATION", "BRIGHTNESS")
    results = {
        each.key: EditPrediction(
            operator_scores=torch.tensor([0.0, *(0.2 + 0.6 * (name in each.operators) for name in labels[1:])]),
            labels=labels,
        )
        for each in (data[index] for index in range(9))
    }
    assert LABELLING.metrics(data, results) == {"classifier/auc": 1.0}
    LABELLING.report(tmp_path, data, results, None)
    first = next(csv.DictReader((tmp_path / "scores.csv").open()))
    assert first["asked for"] == "BRIGHTNESS"
    assert (first["BRIGHTNESS"], first["SATURATION"], first["CROP"]) == ("0.8000", "0.2000", "0.0000")
