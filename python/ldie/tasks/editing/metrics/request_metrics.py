# SPDX-License-Identifier: Apache-2.0
"""What a model makes of requests, measured against what their authors meant: steps, parameters, pictures, labels."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ldie.errors import DataError
from ldie.tasks.editing.metrics.image_metrics import l1, ssim
from ldie.tasks.editing.replay import picture_of
from ldie.tasks.editing.sample import EditPrediction, EditSample, EditSequence
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS, is_curve

NEGATIVE = "negative"
"""The kind of a sample whose target is no answer to its request: what a discriminator has to tell from others."""

_BATCH_PIXELS = 2**18
"""Of the pictures that are measured together; more fit into no cache."""
LEAST_L1 = 1e-6
"""Smaller distances are none: so that a perfect model has a gain, too."""
FIXED = EditOp.BRIGHTNESS
"""The operator whose amount is left to the picture in requests of kind ``fix``."""

Match = tuple[int, int, int]
"""An operator's number, its step in the truth, its step in the prediction."""
_Pair = tuple[EditSample, EditPrediction]


def edit_metrics(
    samples: Iterable[EditSample],
    predictions: Iterable[EditPrediction],
    operators: Sequence[str] = (),
    *,
    detailed: bool = False,
) -> dict[str, float]:
    """All metrics that samples and predictions have what it takes for; what they have not is left out, never NaN.

    =============================  ====================================================================================
    ``actor/sequence_exact``       share of samples whose operators are the true ones, in the true order
    ``actor/set_exact``            the same in any order; an operator counts as often as it comes
    ``actor/precision``            share of all predicted steps whose operator is a true one's; see :func:`step_scores`
    ``actor/recall``               share of all true steps whose operator was predicted
    ``actor/bleu1``                :func:`bleu1` of operators
    ``actor/parameter_mae``        mean |p - p*| of steps with the right operator; see :func:`parameter_errors`
    ``actor/parameter_mse``        mean (p - p*)^2 of them
    ``actor/fix_mae``              mean |p - p*| of BRIGHTNESS in requests of kind ``fix``, which only the picture tells
    ``actor/l1``, ``actor/ssim``   between picture and target, the mean over samples
    ``actor/l1_input``             between source and target; ``actor/ssim_input`` likewise
    ``actor/l1_gain``              ``l1_input / l1``, ``l1`` counted as at least :data:`LEAST_L1`
    ``classifier/auc``             :func:`roc_auc` over all pairs of sample and operator
    ``discriminator/accuracy``     share of samples with ``realness > .5``, or, of kind ``negative``, not above it
    ``discriminator/negatives``    the same of negatives alone
    =============================  ====================================================================================

    Args:
        samples: The truth; negatives are for discriminators only. Each is taken once, and its pictures are not kept.
        predictions: One for each. A picture that is not there is made of the steps.
        operators: The facts' operators, which ``operator_scores`` are of.
        detailed: Add ``actor/parameter_mae-BRIGHTNESS``, ... and ``actor/recall-BRIGHTNESS``, ... of single operators.

    Raises:
        DataError: A prediction that cannot be one of its sample: parameters or scores that are not finite, a picture of
            another size than the target; one line names the sample.
        ValueError: Not as many predictions as samples.
    """
    pairs: list[_Pair] = []
    of_pictures = _picture_metrics(_edits(zip(samples, predictions, strict=True), pairs))
    edits = [pair for pair in pairs if pair[0].kind != NEGATIVE]
    return {
        **_step_metrics([pair for pair in edits if pair[0].steps is not None and pair[1].steps is not None], detailed),
        **of_pictures,
        **_label_metrics([pair for pair in edits if pair[1].operator_scores is not None], operators),
        **_realness_metrics([pair for pair in pairs if pair[1].realness is not None]),
    }


def bleu1(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> float:
    """Corpus BLEU of single tokens: ``BP * sum clipped matches / sum hypothesis lengths``, 0 to 1.

    A hypothesis' token matches as often as its reference has it. The brevity penalty BP is 1 where all hypotheses
    together are as long as all references together, or longer, else ``exp(1 - references / hypotheses)``.

    An empty hypothesis adds nothing to the precision and its reference to the brevity penalty; an empty reference
    matches nothing. Where all hypotheses and all references are empty, or there are none at all, the value is 1:
    nothing was wanted and nothing done. It is 0 where only the hypotheses, or only the references, are all empty.

    Source: Papineni et al., BLEU: a Method for Automatic Evaluation of Machine Translation, 2002. Equal to
    torchmetrics' ``bleu_score(n_gram=1)``, and to nltk's ``corpus_bleu`` where no hypothesis is empty: nltk counts an
    empty one as one wrong token.

    Example:
        >>> round(bleu1([["CONTRAST", "BLUR"], ["HUE"]], [["BLUR"], ["HUE"]]), 4)  # exp(1 - 3 / 2)
        0.6065
    """
    matches = sum((Counter(r) & Counter(h)).total() for r, h in zip(references, hypotheses, strict=True))
    wanted, given = (sum(map(len, lists)) for lists in (references, hypotheses))
    if wanted == given == 0:
        return 1.0
    if matches == 0:
        return 0.0
    return matches / given * min(1.0, math.exp(1 - wanted / given))


def step_scores(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> dict[str, float]:
    """How many steps, over all samples, have their counterpart: ``precision`` and ``recall``, order aside.

    A token matches as often as both lists have it. A share of nothing is 1 where the other side is nothing too, else 0.
    """
    matches = sum((Counter(r) & Counter(h)).total() for r, h in zip(references, hypotheses, strict=True))
    wanted, given = (sum(map(len, lists)) for lists in (references, hypotheses))
    nothing = float(wanted == given)
    return {"precision": matches / given if given else nothing, "recall": matches / wanted if wanted else nothing}


def matched_steps(truth: EditSequence, found: EditSequence) -> list[Match]:
    """Pairs of steps with one operator, wherever they stand: the first of it with the first, and so on."""
    places: dict[int, list[int]] = defaultdict(list)
    for k, op in enumerate(found.ops.tolist()):
        places[op].append(k)
    pairs = []
    for k, op in enumerate(truth.ops.tolist()):
        if places[op]:
            pairs.append((op, k, places[op].pop(0)))
    return pairs


def parameter_errors(truth: EditSequence, found: EditSequence) -> list[tuple[EditOp, float, float]]:
    """Operator, mean |p - p*| and mean (p - p*)^2 of each pair of :func:`matched_steps`.

    The mean is over the operator's own parameters, true zeros among them; what pads rows to 24 is not read. A curve's
    weights, which matter by their ratios alone, are divided by their mean first.

    Raises:
        ValueError: A parameter is not finite, or a curve's weights do not sum to more than 1e-6.
    """
    errors = []
    for number, k, other in matched_steps(truth, found):
        op = EditOp(number)
        difference = _settled(op, truth.params[k]) - _settled(op, found.params[other])
        errors.append((op, float(difference.abs().mean()), float((difference**2).mean())))
    return errors


def roc_auc(scores: Tensor, labels: Tensor) -> float | None:
    """The area under the ROC curve: how likely a positive has a higher score than a negative, a tie counting half.

    Args:
        scores: Of any shape, finite.
        labels: bool, of the same shape.

    Returns:
        0 to 1; None where there is no positive, or no negative: it is not defined then.

    Raises:
        ValueError: Scores that are not finite, or of another shape.

    Source: the Mann-Whitney statistic with mean ranks, equal to scikit-learn's ``roc_auc_score``.

    Example:
        >>> roc_auc(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([False, False, True, True]))
        0.875
    """
    if scores.shape != labels.shape or not bool(scores.isfinite().all()):
        raise ValueError(f"scores must be finite and of the labels' shape {list(labels.shape)}")
    values, positive = scores.flatten().double(), labels.flatten().bool()
    positives = int(positive.sum())
    pairs = positives * (len(positive) - positives)
    if pairs == 0:
        return None
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse]  # equal scores share the mean of their ranks
    return (float(ranks[positive].sum()) - positives * (positives + 1) / 2) / pairs


def _edits(pairs: Iterable[_Pair], seen: list[_Pair]) -> Iterator[_Pair]:
    """Those that are no negatives, one at a time, as pictures are large; ``seen`` gets all, samples without theirs."""
    for sample, prediction in pairs:
        seen.append((sample.without_pictures(), prediction))
        if sample.kind == NEGATIVE:
            continue
        if sample.steps is not None and prediction.steps is not None:
            _errors_of(sample, prediction)  # no picture can be made of wrong ones
        yield sample, prediction


def _step_metrics(pairs: Sequence[_Pair], detailed: bool) -> dict[str, float]:
    if not pairs:
        return {}
    steps = [(sample.steps, prediction.steps) for sample, prediction in pairs]
    truths, founds = ([each.ops.tolist() for each in column if each is not None] for column in zip(*steps, strict=True))
    metrics = {
        "sequence_exact": _mean(t == f for t, f in zip(truths, founds)),
        "set_exact": _mean(Counter(t) == Counter(f) for t, f in zip(truths, founds)),
        **step_scores(truths, founds),
        "bleu1": bleu1(truths, founds),
        **_parameter_metrics(pairs, detailed),
    }
    if detailed:
        for op in sorted({op for truth in truths for op in truth}):
            only = [[[each for each in ops if each == op] for ops in column] for column in (truths, founds)]
            metrics[f"recall-{EditOp(op).name}"] = step_scores(*only)["recall"]
    return {f"actor/{name}": value for name, value in metrics.items()}


def _parameter_metrics(pairs: Sequence[_Pair], detailed: bool) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for sample, prediction in pairs:
        for op, absolute, squared in _errors_of(sample, prediction):
            values["parameter_mae"].append(absolute)
            values["parameter_mse"].append(squared)
            if sample.kind == "fix" and op is FIXED:
                values["fix_mae"].append(absolute)
            if detailed:
                values[f"parameter_mae-{op.name}"].append(absolute)
    return {name: _mean(each) for name, each in values.items()}


def _errors_of(sample: EditSample, prediction: EditPrediction) -> list[tuple[EditOp, float, float]]:
    assert sample.steps is not None and prediction.steps is not None
    try:
        return parameter_errors(sample.steps, prediction.steps)
    except ValueError as error:
        raise DataError(f"sample {sample.key!r}: {error}") from error


def _picture_metrics(pairs: Iterable[_Pair]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for pictures, sources, targets in _stacked(_pictures(pairs)):
        for suffix, images in (("", pictures), ("_input", sources)):
            values[f"l1{suffix}"] += l1(images, targets).tolist()
            values[f"ssim{suffix}"] += ssim(images, targets).tolist()
    metrics = {f"actor/{name}": _mean(each) for name, each in values.items()}
    if "actor/l1" in metrics:
        metrics["actor/l1_gain"] = metrics["actor/l1_input"] / max(metrics["actor/l1"], LEAST_L1)
    return metrics


def _stacked(triples: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Iterator[tuple[Tensor, ...]]:
    """Batches of those that follow on each other with one size, of few enough pixels."""
    for _, same in groupby(triples, key=lambda triple: triple[0].shape):
        batch: list[tuple[Tensor, Tensor, Tensor]] = []
        for triple in same:
            batch.append(triple)
            if (len(batch) + 1) * triple[0][0].numel() > _BATCH_PIXELS:
                yield tuple(map(torch.stack, zip(*batch, strict=True)))
                batch = []
        if batch:
            yield tuple(map(torch.stack, zip(*batch, strict=True)))


def _pictures(pairs: Iterable[_Pair]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What predictions make of the source, the source, and the target, where there is one."""
    for sample, prediction in pairs:
        picture = picture_of(sample, prediction)
        if sample.target is None or picture is None:
            continue
        for name, image in (("prediction's picture", picture), ("source", sample.source)):
            if image.shape != sample.target.shape:
                wanted, found = list(sample.target.shape), list(image.shape)
                raise DataError(f"sample {sample.key!r}: the {name} must have the target's shape {wanted}, got {found}")
        yield picture.cpu(), sample.source, sample.target


def _label_metrics(pairs: Sequence[_Pair], operators: Sequence[str]) -> dict[str, float]:
    scores, labels = [], []
    for sample, prediction in pairs:
        each = prediction.operator_scores
        assert each is not None
        if each.shape != (len(operators),) or not bool(each.isfinite().all()):
            raise DataError(f"sample {sample.key!r}: operator_scores must be {len(operators)} finite numbers")
        if asked := asked_for(sample):
            scores.append(each.cpu())
            labels.append(torch.tensor([name in asked for name in operators]))
    auc = roc_auc(torch.stack(scores), torch.stack(labels)) if scores else None
    return {} if auc is None else {"classifier/auc": auc}


def asked_for(sample: EditSample) -> frozenset[str]:
    """The operators that annotators name, or, where they name none, those of the steps."""
    if sample.operators or sample.steps is None:
        return sample.operators
    return frozenset(EditOp(op).name for op in sample.steps.ops.tolist())


def _realness_metrics(pairs: Sequence[_Pair]) -> dict[str, float]:
    right: dict[bool, list[bool]] = defaultdict(list)
    for sample, prediction in pairs:
        realness = float(prediction.realness)  # type: ignore[arg-type]
        if not math.isfinite(realness):
            raise DataError(f"sample {sample.key!r}: realness must be finite, got {realness}")
        negative = sample.kind == NEGATIVE
        right[negative].append((realness > 0.5) != negative)
    metrics = {"discriminator/accuracy": _mean(right[False] + right[True])} if right else {}
    if right[True]:
        metrics["discriminator/negatives"] = _mean(right[True])
    return metrics


def _settled(op: EditOp, row: Tensor) -> Tensor:
    """An operator's own parameters in float64, a curve's with a mean of 1."""
    own = row[: EDIT_OPERATORS[op].parameters].cpu()
    if not bool(own.isfinite().all()):
        raise ValueError(f"{op.name}'s parameters must be finite")
    curve = EDIT_KINDS[op.name].curve
    if not curve:
        return own.double()
    curves = own.double().view(-1, curve)
    if not all(map(is_curve, curves.tolist())):
        raise ValueError(f"{op.name}'s weights must sum to more than 1e-6 in each curve")
    return (curves / curves.mean(1, keepdim=True)).flatten()


def _mean(values: Iterable[Any]) -> float:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed)
