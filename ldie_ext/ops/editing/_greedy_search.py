"""The original planner: one step after another, each fitted alone to come as near to the target as it can.

Its plans end near the target and are often not the edits that were made: a step takes over what later ones did.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ldie_ext.ops.editing._plans import Plan, Step, unused

__all__: list[str] = []


@dataclass(frozen=True)
class Partial:
    """A plan and the image [3, H, W] that it has come to."""

    plan: Plan
    image: Tensor


FitSteps = Callable[[Sequence[tuple[Partial, Step]]], Sequence[Partial]]


@dataclass(frozen=True)
class Greedy:
    """How the original searches.

    Attributes:
        width: how many plans go on to the next level, 3 in the original.
        fixed: level k tries the k-th operator alone, and goes on without it where it does not help.
        epsilon: how often the plans that go on are drawn instead of chosen.
        stop: a distance that is near enough.
    """

    width: int = 3
    fixed: bool = False
    epsilon: float = 0.0
    stop: float = 1e-3

    def search(
        self, unedited: Partial, candidates: Sequence[Step], max_steps: int, fit: FitSteps, seed: int = 0
    ) -> list[Plan]:
        """The plans of the last level, nearest first.

        A plan is taken if it is nearer to the target than the best of the level before, which need not be the one that
        it continues. If fewer than ``width`` are, the nearest of those before stay.

        Args:
            unedited: the plan without steps.
            candidates: what a step can be; a plan has no operator twice.
            max_steps: how many levels there are at most.
            fit: continues plans by a step each.
            seed: of the draws.
        """
        draws = random.Random(seed)
        beam = [unedited]
        names = list(dict.fromkeys(step.name for step in candidates))
        for name in names:  # as many levels as there are operators
            nearest = beam[0].plan.distance
            if nearest < self.stop or len(beam[0].plan.order) == max_steps:
                break
            tried = [step for step in candidates if step.name == name] if self.fixed else candidates
            found = fit([(each, step) for each in beam for step in unused(tried, each.plan.order)])
            better = sorted((each for each in found if each.plan.distance < nearest), key=_distance)
            if draws.random() < self.epsilon:
                draws.shuffle(better)
            if better:
                beam = sorted((better + beam)[: self.width], key=_distance)
            elif not self.fixed:
                break
        return [each.plan for each in beam]


def _distance(partial: Partial) -> float:
    return partial.plan.distance
