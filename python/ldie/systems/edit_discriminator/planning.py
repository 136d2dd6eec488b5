# SPDX-License-Identifier: Apache-2.0
"""Edits planned on what a discriminator makes of their results: no target is needed, only a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.errors import ConfigError
from ldie.systems.edit_discriminator.model import EditDiscriminator, Judge
from ldie.tasks.editing.reading import preview, small_region
from ldie.tasks.editing.replay import edited_batch
from ldie.tasks.editing.sample import EditSequence
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS

LEVELS = 8
"""Magnitudes that a step is tried with before the best is refined."""
REFINEMENTS = (12, 30)
"""Steps of gradient ascent on a sequence's parameters: of every candidate, and more of those that are kept."""
UNREFINED = (1, 1)
"""The magnitudes as they are tried: gradients find what a trained discriminator takes for an answer and is none."""
LEAST_GAIN = 0.01
"""By how much realness must rise for another step."""
_RATES = (0.02, 0.01)
"""Of Adam at first in either, in shares of a parameter's range; they fall to nothing."""
_CURVE = 8
"""Weights of a curve."""
_WEIGHTS = (0.2, 5.0)
"""Of a curve; they matter by their ratios alone."""


@dataclass(frozen=True)
class DiscriminatorPlan:
    """Steps, and how well the discriminator thinks their result answers the request."""

    steps: EditSequence
    realness: float
    start: float
    """The realness of the source as it is."""


@dataclass(frozen=True)
class _Beam:
    """A sequence of the search."""

    ops: tuple[EditOp, ...]
    params: Tensor
    """[K, 24]."""
    picture: Tensor
    """float [3, H, W], after its steps."""
    realness: float


def plan_by_discriminator(
    model: EditDiscriminator,
    source: Tensor,
    request: str,
    operators: Sequence[EditOp],
    max_steps: int,
    beam: int = 3,
    region: Tensor | None = None,
    refinements: tuple[int, int] = UNREFINED,
) -> DiscriminatorPlan:
    """The sequence whose result D(source, result, request) takes for an answer: :func:`plan_by_judge` on a preview.

    Args:
        model: In eval mode.
        source: uint8 [3, H, W], RGB.
        request: One sentence.
        operators: Those that a sequence may have, each once.
        max_steps: Of a sequence.
        beam: Sequences that are kept after each level.
        region: bool [H, W], where the steps act; None: everywhere.
        refinements: See :func:`plan_by_judge`.

    Raises:
        ConfigError: As :func:`plan_by_judge`.
    """
    size = model.config.model.pair.size
    small = preview(source, size).to(model.device).float() / 255
    where = small_region(region, size)
    place = None if where is None else where.to(model.device)
    judge = model.judge(source, request, region)
    return plan_by_judge(judge, small, operators, max_steps, beam, place, refinements)


def plan_by_judge(
    judge: Judge,
    source: Tensor,
    operators: Sequence[EditOp],
    max_steps: int,
    beam: int = 3,
    region: Tensor | None = None,
    refinements: tuple[int, int] = REFINEMENTS,
) -> DiscriminatorPlan:
    """Beam search over sequences of different operators, by the realness of what they make of a picture.

    At each level every sequence is continued by every operator that it does not have: first at some magnitudes, on the
    picture that the steps before have left; the published code tries them on the source from the second step on. From
    the best of them on, the parameters of all steps are refined together by gradient ascent through the edits, all
    candidates in one batch: what an earlier step did too much of is taken back there, not by a further operator. A
    candidate enters if it is realer than all of the level before, by :data:`LEAST_GAIN`; the search ends when none is.

    Args:
        judge: Realness [B] in [0, 1] of pictures float [B, 3, H, W]; differentiable.
        source: float [3, H, W], RGB in [0, 1].
        operators: To choose from; those whose parameters have no gradient are tried at their start only.
        max_steps: At most so many.
        beam: Sequences that are kept after each level.
        region: bool [H, W], where steps act; None: everywhere.
        refinements: Steps of gradient ascent on every candidate, and on those that are kept; the first leaves
            parameters as they are.

    Raises:
        ConfigError: No operators, or ``max_steps``, ``beam`` or a number of refinements below 1.

    Source: beam search of T2ONet's planner (Shi et al., arXiv:2106.13156), the distance being 1 - D.
    """
    if not operators or min(max_steps, beam, *refinements) < 1:
        given = f"{len(operators)}, {max_steps}, {beam} and {refinements}"
        raise ConfigError(f"operators, max_steps, beam and refinements must be at least 1 each, got {given}")
    with torch.no_grad():
        start = float(judge(source[None])[0])
    root = _Beam((), source.new_zeros(0, NUM_PARAMETERS), source, start)
    kept, best = [root], root
    for _ in range(min(max_steps, len(set(operators)))):
        continued = _continued(judge, source, kept, operators, region, refinements[0])
        found = [each for each in continued if each.realness > best.realness + LEAST_GAIN]
        if not found:
            break
        kept = _polished(judge, source, sorted(found, key=_worst_last)[:beam], region, refinements[1])
        best = kept[0]
    steps = EditSequence(torch.tensor(best.ops, dtype=torch.int64), best.params.float().cpu())
    return DiscriminatorPlan(steps, best.realness, start)


def _continued(
    judge: Judge, source: Tensor, beams: Sequence[_Beam], operators: Sequence[EditOp], region: Tensor | None, count: int
) -> list[_Beam]:
    """Each sequence with each operator that it does not have, the parameters the best that were found."""
    pairs = [(each, op) for each in beams for op in dict.fromkeys(operators) if op not in each.ops]
    firsts = _first_rows(judge, pairs, region)
    ops = torch.tensor([(*each.ops, op) for each, op in pairs])
    rows = torch.stack([torch.cat([each.params, row[None]]) for (each, _), row in zip(pairs, firsts, strict=True)])
    return _refined(judge, source, ops, rows, region, count, _RATES[0])


def _polished(judge: Judge, source: Tensor, beams: Sequence[_Beam], region: Tensor | None, count: int) -> list[_Beam]:
    """The same sequences with better parameters, the best first."""
    ops, rows = torch.tensor([each.ops for each in beams]), torch.stack([each.params for each in beams])
    return sorted(_refined(judge, source, ops, rows, region, count, _RATES[1]), key=_worst_last)


def _worst_last(each: _Beam) -> float:
    return -each.realness


def _first_rows(judge: Judge, pairs: Sequence[tuple[_Beam, EditOp]], region: Tensor | None) -> list[Tensor]:
    """Parameters [24] for one step more of each sequence, the best of those that are tried."""
    starts = [_starts(op).to(each.picture) for each, op in pairs]
    counts = [len(rows) for rows in starts]
    owners = torch.arange(len(pairs)).repeat_interleave(torch.tensor(counts))
    pictures, ops = torch.stack([each.picture for each, _ in pairs]), torch.tensor([[op] for _, op in pairs])
    with torch.no_grad():
        scores = judge(_edited(pictures[owners], ops[owners], torch.cat(starts)[:, None], region))
    return [rows[part.argmax()] for rows, part in zip(starts, scores.split(counts), strict=True)]


def _starts(op: EditOp) -> Tensor:
    """Parameters [N, 24] to try: levels of a single one; of several, levels in each of some directions."""
    known = EDIT_OPERATORS[op]
    if not known.differentiable:
        return known.row()[None]
    shares = torch.linspace(-1, 1, LEVELS + 1)
    shares = shares[shares != 0]
    if known.parameters == 1:
        low, high = _limits(op)
        reach = torch.where(shares < 0, known.start - low, high - known.start)
        return known.row((known.start + shares * reach).unique()[:, None])
    return known.row(torch.exp(shares[:, None, None] * _directions(known.parameters)).flatten(0, 1))


def _directions(count: int) -> Tensor:
    """Logarithms [D, count] of weights.

    Of a curve: falling, steeper in the middle, at the dark end, at the light one; where each channel has a curve, of
    one after the other; of three factors, one more than the others.
    """
    if count % _CURVE:
        return torch.eye(count) / 4
    falling = torch.linspace(1, -1, _CURVE)
    middle = torch.cos(torch.linspace(-torch.pi, torch.pi, _CURVE))
    shapes = 0.7 * torch.stack([falling, middle, falling.clamp(min=0), falling.clamp(max=0)])
    return torch.einsum("ce,ds->cdes", torch.eye(count // _CURVE), shapes).reshape(-1, count)


def _limits(op: EditOp) -> tuple[float, float]:
    """Between which a search may move each parameter."""
    known = EDIT_OPERATORS[op]
    if known.parameters % _CURVE == 0:
        return _WEIGHTS
    return (-1.0 if op is EditOp.SATURATION else known.low), known.high


def _refined(
    judge: Judge, source: Tensor, ops: Tensor, rows: Tensor, region: Tensor | None, count: int, rate: float
) -> list[_Beam]:
    """Sequences [N, K] from parameters [N, K, 24] on: the best that some steps of Adam towards realness come by."""
    limits = torch.tensor([[_limits(EditOp(op)) for op in each] for each in ops.tolist()]).to(rows)
    low, high = limits[..., :1], limits[..., 1:]
    used = torch.stack([torch.stack([_used(EditOp(op)) for op in each]) for each in ops.tolist()]).to(rows)
    sources = source.expand(len(ops), -1, -1, -1)
    moved = torch.zeros_like(rows, requires_grad=True)
    optimizer = torch.optim.Adam([moved], rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, count)
    best, pictures, realness = rows, sources, rows.new_full((len(rows),), -torch.inf)
    for _ in range(count):
        current = (rows + moved * (high - low)).clamp(low, high) * used
        results = _edited(sources, ops, current, region)
        scores = judge(results)
        better = scores.detach() > realness
        best = torch.where(better[:, None, None], current.detach(), best)
        pictures = torch.where(better[:, None, None, None], results.detach(), pictures)
        realness = torch.where(better, scores.detach(), realness)
        (moved.grad,) = torch.autograd.grad(-scores.clamp(min=1e-6).log().sum(), [moved])
        optimizer.step()
        schedule.step()
    found = zip(ops.tolist(), best, pictures, realness.tolist(), strict=True)
    return [_Beam(tuple(map(EditOp, each)), params, picture, score) for each, params, picture, score in found]


def _used(op: EditOp) -> Tensor:
    """1 where a row [24] has a parameter of the operator, 0 behind them."""
    return (torch.arange(NUM_PARAMETERS) < EDIT_OPERATORS[op].parameters).float()


def _edited(pictures: Tensor, ops: Tensor, rows: Tensor, region: Tensor | None) -> Tensor:
    """Pictures [B, 3, H, W] after K steps each."""
    regions = None if region is None else region.expand(len(pictures), -1, -1)
    return edited_batch(pictures, ops.to(pictures.device), rows, regions)
