# SPDX-License-Identifier: Apache-2.0
"""Planning all pairs of a data set: the edits that make about the target of the source."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ldie.errors import ConfigError, DataError
from ldie.files import first_line, is_file
from ldie.tasks.editing.published.plans import MAX_STEPS, Pair, Plan, Plans
from ldie_ext import Recipe, RecipeStep, plan_edits
from ldie_ext.ops.editing.plan_edits import OPERATORS
from ldie_ext.ops.editing.quantisation import as_unit

logger = logging.getLogger("ldie")

PLANNED = tuple(op.name for op in OPERATORS)
SAVE_SECONDS = 60.0
"""Between two states of the file that a killed process leaves behind."""


class PairSource(Protocol):
    """What has pairs to plan."""

    @property
    def size(self) -> int | None:
        """Pixels along each side of the pictures; None: they are as their files are."""

    def pairs(self) -> Mapping[Pair, int]:
        """Rows by the names of the pairs."""

    def read_pair(self, row: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Source and target uint8 [3, H, W], and the region bool [H, W] if there is one."""


def plan_pairs(
    dataset: PairSource,
    path: str | Path,
    *,
    operators: Sequence[str] = PLANNED,
    max_steps: int | None = None,
    method: str = "joint",
    seed: int = 0,
    learnt: int = MAX_STEPS,
) -> Plans:
    """Plans what has no plan in a file yet, and writes the file, from time to time and at the end, whole each time.

    So it goes on where a process ended. Pairs are planned at the data set's size; where a pair has a region, what lies
    outside is taken as it is in the source, and all steps act in the region.

    Args:
        dataset: The pairs; its own plans are not looked at.
        path: The file; where it is there, it must have been planned in the same way.
        operators: Names of ``EditOp`` to choose from.
        max_steps: See :func:`ldie_ext.plan_edits`, as for the next two.
        method: ``joint`` finds the edits that were made; the others come near.
        seed: Of ``epsilon_greedy``.
        learnt: Steps of a plan that are learnt from.

    Raises:
        DataError: A picture cannot be read, pictures of a pair differ in size, or the file has other plans.
        ConfigError: Options that do not go together.
    """
    path = Path(path)
    options = {"operators": list(operators), "max_steps": max_steps, "method": method, "seed": seed}
    plans = _begun(path, {**options, "size": dataset.size}, learnt)
    missing = {pair: row for pair, row in dataset.pairs().items() if pair not in plans.plans}
    begun, saved = len(plans), time.monotonic()
    try:
        for done, (pair, row) in enumerate(missing.items(), start=1):
            plans.plans[pair] = _plan(dataset, row, options)
            if time.monotonic() - saved > SAVE_SECONDS:
                plans.save(path)
                logger.info("%s: %d of %d pairs planned", path, done, len(missing))
                saved = time.monotonic()
    finally:
        if len(plans) > begun:
            plans.save(path)
    return plans


def _begun(path: Path, settings: dict[str, Any], learnt: int) -> Plans:
    """The plans that are there, or none."""
    if not is_file(path):
        return Plans({}, str(path), learnt, settings)
    plans = Plans.load(path, learnt)
    if plans.settings != settings:
        differing = [key for key, value in settings.items() if plans.settings.get(key) != value]
        raise DataError(
            f"{path}: was planned with other settings ({', '.join(differing) or 'of another version'}); remove it, or "
            "choose another file"
        )
    return plans


def _plan(dataset: PairSource, row: int, options: dict[str, Any]) -> Plan:
    source, target, region = dataset.read_pair(row)
    if region is not None:
        target = torch.where(region, target, source)
    masks = None if region is None else region[None]
    try:
        found = plan_edits(source, target, masks, **options)
    except ValueError as error:
        raise ConfigError(first_line(error)) from None
    place = None if region is None else 0
    inside = [each for each in found if all(step.mask == place and not step.exclusive for step in each.steps)]
    recipe = inside[0] if inside else Recipe([])
    results = (recipe.apply(source, steps=count) for count in range(len(recipe.steps) + 1))
    return Plan(
        tuple(RecipeStep(step.name, step.params) for step in recipe.steps),
        tuple(_distance(result, target) for result in results),
    )


def _distance(image: Tensor, target: Tensor) -> float:
    return float((as_unit(image) - as_unit(target)).abs().mean())
