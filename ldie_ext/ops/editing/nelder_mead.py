"""Nelder and Mead's simplex, one problem and one evaluation at a time: what fit_edits is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ldie_ext.ops.editing.apply_edits import apply_edits
from ldie_ext.ops.editing.edit_normal_equations import Candidates
from ldie_ext.ops.editing.fit_columns import Columns
from ldie_ext.ops.editing.levenberg_marquardt import Found

__all__: list[str] = []

REFLECTED, EXPANDED, CONTRACTED, SHRUNK = 1.0, 2.0, 0.5, 0.5

#: The simplex begins with a vertex for each unknown, which is this much larger, or this where it is 0.
RELATIVE, FROM_ZERO = 0.05, 0.00025


def minimise(
    function: Callable[[Tensor], float], start: Tensor, max_evaluations: int, tolerance: float = 1e-4
) -> tuple[Tensor, float, int]:
    """Where a function of a vector [N] is small, its value there, and how often it was called.

    It ends when all vertices lie within the tolerance of the best one, and so do their values.
    """
    step = torch.where(start == 0, FROM_ZERO, RELATIVE * start)
    vertices = torch.cat([start[None], start + torch.diag(step)])
    values = torch.tensor([function(vertex) for vertex in vertices], dtype=torch.float64)
    evaluations = len(vertices)
    while evaluations < max_evaluations:
        order = values.argsort(stable=True)
        vertices, values = vertices[order], values[order]
        width = (vertices - vertices[0]).abs().amax() if len(start) else torch.zeros(())
        if float(width) <= tolerance and float(values[-1] - values[0]) <= tolerance:
            break
        middle = vertices[:-1].mean(0)

        def along(distance: float, middle: Tensor = middle, worst: Tensor = vertices[-1]) -> tuple[Tensor, float]:
            vertex = middle + distance * (middle - worst)
            return vertex, function(vertex)

        vertex, value = along(REFLECTED)
        evaluations += 1
        if value < values[0] or value >= values[-2]:
            better = value < values[-1]
            further = along(EXPANDED if value < values[0] else CONTRACTED if better else -CONTRACTED)
            evaluations += 1
            if value < values[0]:
                vertex, value = further if further[1] < value else (vertex, value)
            elif further[1] <= value if better else further[1] < values[-1]:
                vertex, value = further
            else:
                vertices[1:] = vertices[0] + SHRUNK * (vertices[1:] - vertices[0])
                values[1:] = torch.tensor([function(each) for each in vertices[1:]], dtype=torch.float64)
                evaluations += len(vertices) - 1
                continue
        vertices[-1], values[-1] = vertex, value
    best = int(values.argmin())
    return vertices[best], float(values[best]), evaluations


def fit(candidates: Candidates, starts: Tensor, columns: Columns, max_evaluations: int) -> Found:
    """From starts [Q, S, N], where the mean of |r| of Q problems ends: the best of the starts."""
    problems = len(starts)
    values = starts[:, 0].clone()
    distances = values.new_full((problems,), torch.nan)
    evaluations = torch.zeros(problems, dtype=torch.int64, device=values.device)
    for problem in range(problems):
        distance = _Distance(candidates, columns, problem)
        own = int(columns.used[problem].sum())
        for start in starts[problem, :, :own]:
            vertex, reached, count = minimise(distance, start, max_evaluations)
            evaluations[problem] += count
            if not reached >= float(distances[problem]):
                values[problem, :own] = vertex
                distances[problem] = reached
    values = columns.inside(values)
    return Found(values, distances, distances * candidates.values, evaluations)


class _Distance:
    """The mean of |edited - target| of one problem, by its unknowns."""

    def __init__(self, candidates: Candidates, columns: Columns, problem: int) -> None:
        sample, candidate = divmod(problem, candidates.ops.shape[1])
        self.columns = columns[torch.tensor([problem], device=candidates.ops.device)]
        self.image, self.target = candidates.images[sample, None], candidates.targets[sample, None]
        steps = (candidates.ops, candidates.mask_index, candidates.exclusive)
        self.ops, self.index, self.exclusive = (None if x is None else x[sample, candidate, None] for x in steps)
        self.masks = candidates.masks

    def __call__(self, unknowns: Tensor) -> float:
        values = torch.nn.functional.pad(unknowns, (0, self.columns.used.shape[1] - len(unknowns)))
        params = self.columns.scatter(self.columns.inside(values[None]))
        assert self.ops is not None
        edited = apply_edits(self.image, self.ops, params, self.masks, self.index, self.exclusive)
        return float((edited - self.target).abs().mean())
