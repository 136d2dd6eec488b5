"""Many small least-squares problems at once: Levenberg and Marquardt's descent, each problem at its own pace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ldie_ext.ops.editing.edit_normal_equations import RUN_PIXELS, Candidates
from ldie_ext.ops.editing.fit_columns import Columns

__all__: list[str] = []

#: A step that promises or brings less than this part of the loss is the last, on a part of the pixels and on all.
COARSE_TOLERANCE, TOLERANCE = 1e-3, 1e-6

#: Of the loss of one value: what float32 cannot tell from none.
NOISE = 1e-13

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-7, 1e6
EASED, RAISED = 0.1, 10.0

#: The host asks this seldom whether all have ended.
STEPS_BETWEEN_LOOKS = 4

#: The first stage sees about this many pixels, each later one so many times more.
COARSE_PIXELS, FINER = 2048, 32


class Found(NamedTuple):
    """Of Q problems: values [Q, N], and [Q] losses, sums of |r| and how often the equations were made."""

    values: Tensor
    losses: Tensor
    distances: Tensor
    evaluations: Tensor


def strides(pixels: int) -> list[int]:
    """Of which runs of pixels one is visited, stage by stage; at last all are."""
    found = [1]
    while pixels // (found[0] * RUN_PIXELS) * RUN_PIXELS > 2 * COARSE_PIXELS:
        visited = pixels // found[0]
        found.insert(0, found[0] * min(FINER, max(2, visited // COARSE_PIXELS)))
    return found


def propose(values: Tensor, gradient: Tensor, hessian: Tensor, damping: Tensor, columns: Columns) -> Trial:
    """The damped step, within the limits. A value at its limit that would leave it stays for this step.

    The scale of a curve's weights changes nothing, so that the equations say nothing of it: the square of their sum's
    change is added.
    """
    outwards = ((values <= columns.low) & (gradient > 0)) | ((values >= columns.high) & (gradient < 0))
    free = columns.used & ~outwards
    scale = hessian.diagonal(dim1=1, dim2=2)
    trace = scale.sum(1, keepdim=True)
    share = (columns.same_curve @ scale[..., None]) / 8  # of each curve's diagonal, so that the term is of its size
    matrix = torch.where(free[:, :, None] & free[:, None], hessian + share * columns.same_curve, 0.0)
    extra = torch.where(free, damping[:, None] * scale + LEAST_DAMPING * trace / max(free.shape[1], 1) + 1e-30, 1.0)
    matrix.diagonal(dim1=1, dim2=2).add_(extra)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    downhill = torch.where(free, -gradient, 0.0)
    step = torch.cholesky_solve(downhill[..., None], factor)[..., 0]
    good = (failed == 0) & step.isfinite().all(1)
    step = torch.where(good[:, None], step, 0.0)
    promised = torch.where(good, (downhill * step).sum(1), torch.inf)
    return Trial(columns.inside(values + step), promised)


class Trial(NamedTuple):
    """Values [Q, N], and [Q] twice what they promise to take from the loss at most."""

    values: Tensor
    promised: Tensor


@dataclass
class Descent:
    """Where Q problems are: the best values so far, the equations there, and which still go on."""

    candidates: Candidates
    columns: Columns
    values: Tensor
    losses: Tensor
    distances: Tensor
    gradients: Tensor
    hessians: Tensor
    damping: Tensor
    active: Tensor
    evaluations: Tensor

    @staticmethod
    def begin(candidates: Candidates, columns: Columns, values: Tensor) -> Descent:
        count, width = values.shape
        zeros = values.new_zeros(count)
        return Descent(
            candidates=candidates,
            columns=columns,
            values=values,
            losses=zeros + torch.inf,
            distances=zeros + torch.nan,
            gradients=values.new_zeros(count, width),
            hessians=values.new_zeros(count, width, width),
            damping=zeros + FIRST_DAMPING,
            active=torch.ones_like(zeros, dtype=torch.bool),
            evaluations=torch.zeros_like(zeros, dtype=torch.int64),
        )

    def visit(self, trial: Tensor, stride: int, tolerance: float) -> None:
        """Makes the equations at a trial, and goes there where it is better."""
        size = self.candidates.ops.shape[:2]
        params = self.columns.scatter(trial).unflatten(0, size)
        found = self.candidates.equations(params, self.active.view(size), stride, trial.shape[1])
        losses, distances, gradients, hessians = (each.flatten(0, 1) for each in found)
        self.evaluations += self.active
        better = self.active & (losses < self.losses)
        won = self.losses - losses
        ended = better & self.losses.isfinite() & (won <= self.enough(losses, stride, tolerance))
        self.values = torch.where(better[:, None], trial, self.values)
        self.losses = torch.where(better, losses, self.losses)
        self.distances = torch.where(better, distances, self.distances)
        self.gradients = torch.where(better[:, None], gradients, self.gradients)
        self.hessians = torch.where(better[:, None, None], hessians, self.hessians)
        self.damping = torch.where(better, (self.damping * EASED).clamp(min=LEAST_DAMPING), self.damping * RAISED)
        self.active = self.active & ~ended & (self.damping <= MOST_DAMPING)

    def enough(self, losses: Tensor, stride: int, tolerance: float) -> Tensor:
        return tolerance * losses + NOISE * self.candidates.values / stride

    def run(self, stride: int, tolerance: float, max_evaluations: int) -> Found:
        trial = self.values
        for number in range(max_evaluations):
            self.visit(trial, stride, tolerance)
            if number % STEPS_BETWEEN_LOOKS == STEPS_BETWEEN_LOOKS - 1 and not bool(self.active.any()):
                break
            trial, promised = propose(self.values, self.gradients, self.hessians, self.damping, self.columns)
            self.active = self.active & (promised > self.enough(self.losses, stride, tolerance))
        return Found(self.values, self.losses, self.distances, self.evaluations)


def fit(candidates: Candidates, starts: Tensor, columns: Columns, max_evaluations: int) -> Found:
    """From starts [Q, S, N], all of them on few pixels, and the best on more and more: where Q problems end."""
    problems, count, width = starts.shape
    rows = torch.arange(problems, device=starts.device).repeat_interleave(count)
    values = starts.flatten(0, 1)
    evaluations = torch.zeros(problems, dtype=torch.int64, device=starts.device)
    stages = strides(candidates.values // 3)
    for stage, stride in enumerate(stages):
        tolerance = TOLERANCE if stride == 1 else COARSE_TOLERANCE
        repeats = count if stage == 0 else 1
        own = columns[rows] if repeats > 1 else columns
        found = Descent.begin(candidates.repeated(repeats), own, values).run(stride, tolerance, max_evaluations)
        best = found.losses.nan_to_num(torch.inf).view(problems, repeats).argmin(1)
        found = Found(*(each.unflatten(0, (problems, repeats)) for each in found))
        evaluations += found.evaluations.sum(1)
        values = found.values.gather(1, best[:, None, None].expand(-1, 1, width))[:, 0]
    losses, distances = (each.gather(1, best[:, None])[:, 0] for each in (found.losses, found.distances))
    return Found(values, losses, distances, evaluations)
