# SPDX-License-Identifier: Apache-2.0
"""Metrics of requests: equal to those of well-kept libraries, else by hand, and defined at their edges."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ldie.errors import DataError
from ldie.tasks.editing.metrics.request_metrics import (
    NEGATIVE,
    bleu1,
    edit_metrics,
    matched_steps,
    parameter_errors,
    roc_auc,
    step_scores,
)
from ldie.tasks.editing.replay import after_each_step, replayed
from ldie.tasks.editing.sample import EditPrediction, EditSample, EditSequence

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS


def sequence(*steps: tuple[EditOp, float | list[float]]) -> EditSequence:
    if not steps:
        return EditSequence.empty()
    rows = [EDIT_OPERATORS[op].row(torch.tensor(values)) for op, values in steps]
    return EditSequence(torch.tensor([int(op) for op, _ in steps]), torch.stack(rows))


def lists(seed: int, least: int) -> tuple[list[list[str]], list[list[str]]]:
    """References and hypotheses that agree in part, each of at least so many tokens."""
    rng, names = np.random.default_rng(seed), [op.name for op in EditOp][1:6]
    pick = [[rng.choice(names, rng.integers(least, 5)).tolist() for _ in range(20)] for _ in range(2)]
    return pick[0], [mine + other[:1] for mine, other in zip(*pick)] if least else pick[1]


@pytest.mark.parametrize("seed", range(5))
def test_bleu_is_that_of_nltk(seed: int) -> None:
    corpus_bleu = pytest.importorskip("nltk.translate.bleu_score").corpus_bleu
    references, hypotheses = lists(seed, 1)
    for r, h in ((references, hypotheses), (hypotheses, references), (references, [each[:1] for each in references])):
        assert bleu1(r, h) == pytest.approx(corpus_bleu([[each] for each in r], h, weights=(1.0,)), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_bleu_is_that_of_torchmetrics(seed: int) -> None:
    """Empty lists among others, too."""
    bleu_score = pytest.importorskip("torchmetrics.functional.text").bleu_score
    references, hypotheses = lists(seed, 0)
    assert any(not each for each in references) and any(not each for each in hypotheses)
    theirs = bleu_score([" ".join(h) for h in hypotheses], [[" ".join(r)] for r in references], n_gram=1)
    assert bleu1(references, hypotheses) == pytest.approx(float(theirs), abs=1e-6)


def test_bleu_is_the_recorded_one() -> None:
    """nltk 3.10: ``corpus_bleu([[r] for r in references], hypotheses, weights=(1.0,))``."""
    references, hypotheses = ["abc", "dd", "e"], ["ab", "da", "fe"]
    assert bleu1(references, hypotheses) == pytest.approx(4 / 6)
    assert bleu1(references, ["ab", "d", "e"]) == pytest.approx(math.exp(1 - 6 / 4), abs=1e-12)
    assert bleu1(["ab"], ["aabb"]) == 0.5  # a token matches as often as the reference has it


def test_bleu_of_nothing() -> None:
    assert bleu1([], []) == bleu1([[], []], [[], []]) == 1
    assert bleu1([["a"]], [[]]) == bleu1([[]], [["a"]]) == 0
    assert bleu1([["a"], []], [["a"], []]) == 1
    assert bleu1([["a"], ["b"]], [["a"], []]) == pytest.approx(math.exp(-1))
    assert bleu1([["a"], []], [["a"], ["b"]]) == 0.5
    with pytest.raises(ValueError):
        bleu1([["a"]], [])


def test_shares_of_steps() -> None:
    assert step_scores([["a", "b"], ["c"]], [["b"], ["d", "c"]]) == {"precision": 2 / 3, "recall": 2 / 3}
    assert step_scores([["a"]], [["a", "a", "a"]]) == {"precision": 1 / 3, "recall": 1}
    assert step_scores([[]], [[]]) == {"precision": 1, "recall": 1}
    assert step_scores([["a"]], [[]]) == step_scores([[]], [["a"]]) == {"precision": 0, "recall": 0}


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_is_that_of_scikit_learn(levels: int) -> None:
    """With many ties, few and none."""
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    rng = np.random.default_rng(levels)
    labels = rng.random((40, 6)) < 0.3
    scores = (rng.integers(0, levels, (40, 6)) + labels * levels // 4) / levels
    theirs = roc_auc_score(labels.ravel(), scores.ravel())
    assert roc_auc(torch.tensor(scores), torch.tensor(labels)) == pytest.approx(theirs, abs=1e-12)


def test_auc_is_the_recorded_one() -> None:
    """scikit-learn 1.9 gave these; without one of the classes it gives NaN, here it is None."""
    scores, labels = torch.tensor([[0.2, 0.7, 0.7], [0.1, 0.7, 0.9]]), torch.tensor([[0, 1, 0], [0, 0, 1]]).bool()
    assert roc_auc(scores, labels) == pytest.approx(0.875, abs=1e-12)
    assert roc_auc(torch.zeros(2, 3), labels) == 0.5
    assert roc_auc(-scores, labels) == pytest.approx(0.125, abs=1e-12)
    assert roc_auc(scores, torch.ones_like(labels)) is None and roc_auc(scores, torch.zeros_like(labels)) is None
    for bad in (scores / 0, scores[:1]):
        with pytest.raises(ValueError, match="scores must be finite"):
            roc_auc(bad, labels)


def test_matched_steps_are_those_of_one_operator() -> None:
    one, other = sequence((EditOp.BLUR, 0.1), (EditOp.HUE, 0.2)), sequence((EditOp.HUE, 0.3), (EditOp.CONTRAST, 0.5))
    assert matched_steps(one, other) == [(EditOp.HUE, 1, 0)]
    twice = sequence((EditOp.HUE, 0.1), (EditOp.HUE, 0.2))
    assert matched_steps(twice, other) == [(EditOp.HUE, 0, 0)]
    assert matched_steps(twice, twice) == [(EditOp.HUE, 0, 0), (EditOp.HUE, 1, 1)]
    assert matched_steps(EditSequence.empty(), other) == []


def test_errors_are_means_over_the_operators_own_parameters() -> None:
    truth, found = sequence((EditOp.WHITE_BALANCE, [1.0, 0.0, 1.3])), sequence((EditOp.WHITE_BALANCE, [1.0, 0.3, 1.0]))
    found.params[0, 3:] = 9.0  # what pads a row says nothing
    [(op, absolute, squared)] = parameter_errors(truth, found)
    assert op is EditOp.WHITE_BALANCE
    assert absolute == pytest.approx(0.2, abs=1e-6) and squared == pytest.approx(0.06, abs=1e-6)


@pytest.mark.parametrize("op", [EditOp.TONE_CURVE, EditOp.COLOR_CURVE])
def test_a_curves_scale_says_nothing(op: EditOp) -> None:
    weights = torch.linspace(0.5, 1.5, EDIT_OPERATORS[op].parameters)
    scale = torch.tensor([3.0, 0.2, 7.0]).repeat_interleave(8)[: len(weights)]
    truth, scaled = (
        EditSequence(torch.tensor([int(op)]), EDIT_OPERATORS[op].row(w)[None]) for w in (weights, weights * scale)
    )
    assert parameter_errors(truth, scaled)[0][1] == pytest.approx(0, abs=1e-6)
    still = sequence((op, [1.0] * len(weights)))
    curves = weights.double().view(-1, 8)
    wanted = (curves / curves.mean(1, keepdim=True) - 1).abs().mean()
    assert parameter_errors(truth, still)[0][1] == pytest.approx(float(wanted), abs=1e-6)


def sample(key: str, steps: EditSequence, kind: str = "plain") -> EditSample:
    places = torch.arange(3 * 6 * 8).view(3, 6, 8)
    source = (places * 37 % 200 + 20).to(torch.uint8)
    return EditSample(key, source, "edit it", replayed(source, steps), steps=steps, kind=kind)


def test_the_truth_is_perfect() -> None:
    samples = [
        sample("a", sequence((EditOp.BRIGHTNESS, 0.3), (EditOp.CONTRAST, -0.5))),
        sample("b", sequence((EditOp.BRIGHTNESS, 0.5)), "fix"),
    ]
    metrics = edit_metrics(samples, [EditPrediction(steps=each.steps) for each in samples])
    perfect = ("sequence_exact", "set_exact", "precision", "recall", "bleu1", "ssim")
    assert {name: metrics[f"actor/{name}"] for name in perfect} == pytest.approx(dict.fromkeys(perfect, 1.0))
    assert all(metrics[f"actor/{name}"] == 0 for name in ("parameter_mae", "parameter_mse", "fix_mae", "l1"))
    assert metrics["actor/l1_gain"] == pytest.approx(metrics["actor/l1_input"] / 1e-6) and metrics["actor/l1_gain"] > 0


def test_values_by_hand() -> None:
    samples = [
        sample("a", sequence((EditOp.BRIGHTNESS, 0.3), (EditOp.CONTRAST, -0.5))),
        sample("b", sequence((EditOp.BRIGHTNESS, 0.4), (EditOp.HUE, 0.1)), "fix"),
    ]
    steps = [
        sequence((EditOp.CONTRAST, -0.1), (EditOp.BRIGHTNESS, 0.3)),
        sequence((EditOp.BRIGHTNESS, 0.6), (EditOp.HUE, 0.2)),
    ]
    metrics = edit_metrics(samples, [EditPrediction(steps=each) for each in steps], detailed=True)
    wanted = {
        "sequence_exact": 0.5,
        "set_exact": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "bleu1": 1.0,
        "parameter_mae": (0.4 + 0 + 0.2 + 0.1) / 4,
        "parameter_mse": (0.16 + 0 + 0.04 + 0.01) / 4,
        "fix_mae": 0.2,
        "parameter_mae-BRIGHTNESS": 0.1,
        "parameter_mae-CONTRAST": 0.4,
        "recall-BRIGHTNESS": 1.0,
        "recall-CONTRAST": 1.0,
    }
    assert {name: metrics[f"actor/{name}"] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    pictures = [replayed(each.source, found).float() for each, found in zip(samples, steps)]
    out = np.mean([float((p - s.target).abs().mean()) / 255 for p, s in zip(pictures, samples)])
    before = np.mean([float((s.source.float() - s.target).abs().mean()) / 255 for s in samples])
    assert metrics["actor/l1"] == pytest.approx(out, rel=1e-5)
    assert metrics["actor/l1_gain"] == pytest.approx(before / out, rel=1e-5)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_pictures_of_any_sizes_weigh_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured together or one by one."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(6, 8), (6, 8), (6, 8), (20, 3), (6, 8), (20, 3), (20, 3)]
    source, target, found = (
        [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes] for _ in range(3)
    )
    samples = [EditSample(str(k), *pair[:1], "", pair[1]) for k, pair in enumerate(zip(source, target))]
    together = edit_metrics(samples, [EditPrediction(image=each) for each in found])
    alone = [edit_metrics([one], [EditPrediction(image=each)]) for one, each in zip(samples, found)]
    for name in ("l1", "ssim", "l1_input", "ssim_input"):
        mean = np.mean([each[f"actor/{name}"] for each in alone])
        assert together[f"actor/{name}"] == pytest.approx(mean, abs=1e-6)
    monkeypatch.setattr("ldie.tasks.editing.metrics.request_metrics._BATCH_PIXELS", 100)
    assert edit_metrics(samples, [EditPrediction(image=each) for each in found]) == pytest.approx(together, abs=1e-6)


def test_what_is_not_there_is_left_out() -> None:
    full = sample("a", sequence((EditOp.BRIGHTNESS, 0.3)))
    assert edit_metrics([full], [EditPrediction()]) == edit_metrics([], []) == {}
    only_picture = edit_metrics([replace(full, steps=None)], [EditPrediction(image=full.source)])
    assert only_picture.keys() == {f"actor/{n}" for n in ("l1", "l1_input", "ssim", "ssim_input", "l1_gain")}
    only_steps = edit_metrics([replace(full, target=None)], [EditPrediction(steps=sequence((EditOp.HUE, 0.1)))])
    assert only_steps == {
        f"actor/{n}": 0 for n in ("sequence_exact", "set_exact", "precision", "recall", "bleu1")
    }  # nothing matched: no parameter to measure
    with pytest.raises(ValueError):
        edit_metrics([full], [])


def test_nothing_to_do_and_nothing_done() -> None:
    still = sample("a", EditSequence.empty())
    metrics = edit_metrics([still], [EditPrediction(steps=EditSequence.empty())])
    assert metrics["actor/sequence_exact"] == metrics["actor/bleu1"] == metrics["actor/precision"] == 1
    assert "actor/parameter_mae" not in metrics and metrics["actor/l1_gain"] == 0


def test_classifier_and_discriminator() -> None:
    names = ["BRIGHTNESS", "CONTRAST", "CROP"]
    first = sample("a", sequence((EditOp.BRIGHTNESS, 0.3)))  # annotators named none: its steps' operators are asked for
    second = replace(sample("b", sequence((EditOp.BRIGHTNESS, 0.3))), operators=frozenset({"CROP", "FLIP"}))
    negative = replace(sample("c", sequence((EditOp.CONTRAST, 0.3))), kind=NEGATIVE)
    scores = [torch.tensor([0.9, 0.1, 0.2]), torch.tensor([0.3, 0.2, 0.25]), None]
    realness = [torch.tensor(0.8), torch.tensor(0.5), torch.tensor(0.1)]
    predictions = [EditPrediction(operator_scores=s, realness=r) for s, r in zip(scores, realness)]
    assert edit_metrics([first, second, negative], predictions, names) == {
        "classifier/auc": pytest.approx(7 / 8),
        "discriminator/accuracy": pytest.approx(2 / 3),
        "discriminator/negatives": 1.0,
    }
    one_class = replace(first, operators=frozenset({"BRIGHTNESS"}))
    assert edit_metrics([one_class], [EditPrediction(operator_scores=torch.tensor([0.4]))], ["BRIGHTNESS"]) == {}
    with pytest.raises(DataError, match="sample 'a': operator_scores must be 2 finite numbers"):
        edit_metrics([first], predictions[:1], names[:2])
    with pytest.raises(DataError, match="sample 'a': realness must be finite, got nan"):
        edit_metrics([first], [EditPrediction(realness=torch.tensor(math.nan))])


def test_what_cannot_be_is_refused() -> None:
    full = sample("a", sequence((EditOp.TONE_CURVE, [1.0] * 8), (EditOp.HUE, 0.1)))
    for steps, message in (
        (sequence((EditOp.HUE, math.nan)), "sample 'a': HUE's parameters must be finite"),
        (sequence((EditOp.TONE_CURVE, [0.0] * 8)), "sample 'a': TONE_CURVE's weights must sum to more than 1e-6"),
    ):
        with pytest.raises(DataError, match=message):
            edit_metrics([full], [EditPrediction(steps=steps)])
    cropped = EditPrediction(image=full.source[:, :2])
    with pytest.raises(
        DataError, match=r"the prediction's picture must have the target's shape \[3, 6, 8\], got \[3, 2"
    ):
        edit_metrics([full], [cropped])


def test_pictures_after_each_step() -> None:
    steps = sequence((EditOp.BRIGHTNESS, 0.4), (EditOp.CONTRAST, 0.6), (EditOp.SATURATION, 0.5))
    source, region = sample("a", steps).source, torch.zeros(6, 8, dtype=torch.bool)
    region[2:5, 1:4] = True
    for where in (None, region):
        each = after_each_step(source, steps, where)
        assert each.shape == (4, 3, 6, 8) and torch.equal(each[0], source)
        for k in range(4):
            part = EditSequence(steps.ops[:k], steps.params[:k])
            assert torch.equal(each[k], replayed(source, part, where))
    assert torch.equal(each[-1][:, ~region], source[:, ~region]) and not torch.equal(each[-1], source)
    assert torch.equal(after_each_step(source, EditSequence.empty()), source[None])
    assert EditSequence.empty().params.shape == (0, NUM_PARAMETERS)
