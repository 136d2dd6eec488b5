# SPDX-License-Identifier: Apache-2.0
"""Planned edits of pairs of pictures, to learn from where nobody wrote down what was done."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ldie.errors import ConfigError, DataError, short
from ldie.files import first_line, write_text
from ldie.tasks.detection.annotations import brief, read_json
from ldie.tasks.editing.sample import EditSequence
from ldie_ext import EditOp, RecipeStep
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS, check_step, is_curve

FORMAT, VERSION = "ldie plans", 1
MAX_STEPS = 5
"""Of a plan that are learnt from, as published for MA5k-Req."""
LEAST_GAIN = 0.01
"""Of the distance before all steps, that a step must bring the picture nearer."""
LARGEST = 5.0
"""What the number of an operator with one may be; a fit that ran away is taken as 0."""
Pair: TypeAlias = tuple[str, str]
"""The names of an input and an output: pairs that share an input have plans of their own."""


@dataclass(frozen=True)
class Plan:
    """Steps that make about one picture of another, all in the region of the pair if it has one."""

    steps: tuple[RecipeStep, ...]
    """Operators of ``EditOp``, without masks."""
    distances: tuple[float, ...]
    """Before all steps and after each: mean absolute differences of values from 0 to 1."""

    def sequence(self, max_steps: int = MAX_STEPS) -> EditSequence:
        """The first steps as a model learns them: see :func:`kept` and :func:`row_of`."""
        steps = self.steps[: kept(self.distances, max_steps)]
        if not steps:
            return EditSequence.empty()
        ops = torch.tensor([int(EditOp[step.name]) for step in steps])
        return EditSequence(ops, torch.stack([row_of(step) for step in steps]))


def kept(distances: Sequence[float], max_steps: int = MAX_STEPS) -> int:
    """How many steps of a plan are learnt from, given the distances d_0, ..., d_K before all steps and after each.

    Those before the first with (d_k - d_{k + 1}) / d_0 <= .01; at least one where there are any, at most ``max_steps``.

    Source: Shi et al., arXiv:2106.13156, the code that came with it.

    Example:
        >>> kept([0.1, 0.05, 0.02, 0.0195, 0.01]), kept([0.1, 0.0999])
        (2, 1)
    """
    gains = [before - after for before, after in pairwise(distances)]
    useless = next((k for k, gain in enumerate(gains) if not gain > LEAST_GAIN * distances[0]), len(gains))
    return min(max(useless, 1), max_steps, len(gains))


def row_of(step: RecipeStep) -> Tensor:
    """A step's parameters, float32 [24], as a model learns them: a curve's divided by the largest absolute one.

    The number of a scalar operator beyond -5 to 5, and a curve that apply_edits does not take, become those that change
    nothing.
    """
    operator, size = EDIT_OPERATORS[EditOp[step.name]], EDIT_KINDS[step.name].curve
    params = step.params
    if size:
        largest = max(map(abs, params)) or 1.0
        params = tuple(value / largest for value in params)
        if not all(is_curve(params[first : first + size]) for first in range(0, len(params), size)):
            return operator.row()
    elif len(params) == 1 and abs(params[0]) > LARGEST:
        return operator.row(0.0)
    return operator.row(torch.tensor(params, dtype=torch.float32))


class Plans:
    """Plans by pair.

    Args:
        plans: By the names of input and output.
        origin: A path or name for messages.
        max_steps: Of a plan that are learnt from.
        settings: What they were planned with, as JSON has it; kept in the file.

    Raises:
        ConfigError: ``max_steps`` below 1.
    """

    def __init__(
        self,
        plans: Mapping[Pair, Plan],
        origin: str = "plans",
        max_steps: int = MAX_STEPS,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, got {max_steps}")
        self.plans, self.origin, self.max_steps, self.settings = dict(plans), origin, max_steps, dict(settings or {})

    def __len__(self) -> int:
        return len(self.plans)

    def steps(self, source: str, target: str) -> EditSequence:
        """What is learnt of a pair's plan.

        Raises:
            DataError: It has none.
        """
        self.check([(source, target)])
        return self.plans[source, target].sequence(self.max_steps)

    def operators(self, pairs: Iterable[Pair]) -> set[str]:
        """Names of the operators that are learnt from the plans of some pairs."""
        return {EditOp(op).name for pair in pairs for op in self.steps(*pair).ops.tolist()}

    def check(self, pairs: Iterable[Pair]) -> None:
        """Raises a DataError unless each of some pairs has a plan."""
        wanted = list(dict.fromkeys(pairs))
        missing = [f"{source} to {target}" for source, target in wanted if (source, target) not in self.plans]
        if missing:
            raise DataError(
                f"{self.origin}: has no plan for {len(missing)} of {len(wanted)} pairs ({short(missing)}); plan these, "
                "too, or give no plans"
            )

    def save(self, path: str | Path) -> None:
        """Writes a file that :meth:`load` reads; it appears whole or not at all."""
        lines = [
            json.dumps(
                {
                    "input": source,
                    "output": target,
                    "distances": plan.distances,
                    "steps": [{"name": step.name, "params": step.params} for step in plan.steps],
                }
            )
            for (source, target), plan in self.plans.items()
        ]
        header = json.dumps({"format": FORMAT, "version": VERSION, "settings": self.settings})
        body = ",".join(f"\n  {line}" for line in lines)
        write_text(Path(path), f'{header[:-1]}, "plans": [{body}\n]}}\n')

    @staticmethod
    def load(path: str | Path, max_steps: int = MAX_STEPS) -> Plans:
        """Reads what :meth:`save` wrote.

        Raises:
            DataError: No such file, none of plans, or a plan that is malformed or there twice.
        """
        path = Path(path)
        if not path.exists():
            raise DataError(f"{path}: no such file of plans; make one by ldie plans")
        content = read_json(path)
        ours = isinstance(content, dict) and content.get("format") == FORMAT
        if not ours or not isinstance(content.get("plans"), list):
            raise DataError(f'{path}: expected plans ("format": "{FORMAT}"); give a file that ldie wrote')
        if content.get("version") != VERSION:
            raise DataError(f"{path}: version must be {VERSION}, got {brief(content.get('version'))}; update ldie")
        plans: dict[Pair, Plan] = {}
        for number, entry in enumerate(content["plans"]):
            try:
                pair, plan = _plan(entry)
                if pair in plans:
                    raise ValueError(f"{pair[0]} to {pair[1]} is there twice")
            except ValueError as error:
                raise DataError(f"{path}: plans[{number}]: {first_line(error)}; correct or remove it") from None
            plans[pair] = plan
        settings = content.get("settings")
        return Plans(plans, str(path), max_steps, settings if isinstance(settings, dict) else None)


def checked_plan(steps: Sequence[RecipeStep], distances: Any) -> Plan:
    """A plan of what a file has.

    Raises:
        ValueError: The distances are not one more than the steps, or no distances.
    """
    whole = isinstance(distances, list) and len(distances) == len(steps) + 1
    if not whole or not all(type(value) in (int, float) and 0 <= value < math.inf for value in distances):
        raise ValueError(f"distances must be {len(steps) + 1} numbers of at least 0, got {brief(distances)}")
    return Plan(tuple(steps), tuple(map(float, distances)))


def _plan(entry: Any) -> tuple[Pair, Plan]:
    fields = entry if isinstance(entry, dict) else {}
    source, target, steps = (fields.get(key) for key in ("input", "output", "steps"))
    if not isinstance(source, str) or not isinstance(target, str) or not isinstance(steps, list):
        raise ValueError(f"expected an object with input, output, distances and steps, got {brief(entry)}")
    found = []
    for number, step in enumerate(steps):
        if not isinstance(step, dict) or not isinstance(step.get("params"), list):
            raise ValueError(f"steps[{number}]: expected an object with name and params, got {brief(step)}")
        found.append(RecipeStep(step.get("name"), tuple(step["params"])))  # type: ignore[arg-type]  # checked there
        check_step(found[-1], number, EDIT_KINDS, masks=0)
    return (source, target), checked_plan(found, fields.get("distances"))
