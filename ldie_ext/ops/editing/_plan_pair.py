"""One pair of images, and plans fitted to it: by fit_edits, or by a simplex search for any distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ldie_ext.ops.editing._greedy_search import Partial
from ldie_ext.ops.editing._plans import Order, Plan, Step
from ldie_ext.ops.editing.apply_edits import apply_edits
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, NUM_PARAMETERS, EditOp
from ldie_ext.ops.editing.fit_edits import fit_edits
from ldie_ext.ops.editing.nelder_mead import minimise
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS, RecipeStep, StepExecutor, is_curve

__all__: list[str] = []

Distance = Callable[[Tensor, Tensor], "Tensor | float"]

#: Of orders that compete, all are fitted a little, and the nearest of them to the end from several starts.
_SCREENING, _KEPT, _STARTS = 16, 24, 5
#: The original's setting of the simplex search, for each parameter.
_EVALUATIONS = 200


def mean_absolute(edited: Tensor, target: Tensor) -> Tensor:
    """The distance that is used where no other is given."""
    return (edited - target).abs().mean()


@dataclass
class Pair:
    """What plans lead from and to.

    Attributes:
        image: float [3, H, W] in [0, 1].
        target: the same.
        masks: bool [M, H, W], for steps that are not global.
        executor: does the steps that apply_edits does not have.
        distance: between two images as these.
        by_simplex: whether parameters are found by the simplex search instead of by fit_edits.
        evaluations: how many edited images the simplex search has asked for.
    """

    image: Tensor
    target: Tensor
    masks: Tensor | None = None
    executor: StepExecutor | None = None
    distance: Distance = mean_absolute
    by_simplex: bool = False
    evaluations: int = 0

    def unedited(self) -> Plan:
        """The plan without steps."""
        return self._plan((), torch.zeros(0, NUM_PARAMETERS), self.image)

    def edited(self, image: Tensor, order: Order, params: Tensor) -> Tensor:
        """An image [3, H, W] after some steps with parameters [K, 24]."""
        first = 0
        for fused, group in groupby(order, key=lambda step: step.is_edit):
            steps = list(group)
            if fused:
                image = self._apply(image, steps, params[first : first + len(steps)])
            else:
                for step in steps:
                    image = self._execute(image, step)
            first += len(steps)
        return image

    def fit_orders(self, orders: Sequence[Order]) -> list[Plan]:
        """A plan for each order from the pair's image on.

        With fit_edits, the steps of an executor come first: an order that has one after another step is left out.
        """
        if self.by_simplex:
            return [self._simplex(self.image, order) for order in orders]
        by_lead: dict[Order, list[Order]] = {}
        for order in orders:
            lead = _lead(order)
            by_lead.setdefault(lead, []).append(order[len(lead) :])
        plans: list[Plan] = []
        for lead, rest in by_lead.items():
            image = self.edited(self.image, lead, torch.zeros(len(lead), NUM_PARAMETERS))
            plans += [_after(lead, plan) for plan in self._screened(image, [each for each in rest if _is_fused(each)])]
        return plans

    def refined(self, order: Order, params: Tensor) -> Plan:
        """An order of apply_edits' steps fitted from given parameters [K, 24] on."""
        return self._fit(self.image, [order], 1, init=params)[0]

    def fit_steps(self, tries: Sequence[tuple[Partial, Step]]) -> list[Partial]:
        """Each plan with one more step, whose parameters alone are fitted."""
        if self.by_simplex:
            found = [self._simplex(partial.image, (step,)) for partial, step in tries]
        else:
            found = [self._fit(partial.image, [(step,)], _STARTS)[0] if step.is_edit else
                     self._simplex(partial.image, (step,)) for partial, step in tries]  # fmt: skip
        return [self._continued(partial, plan) for (partial, _), plan in zip(tries, found, strict=True)]

    def _continued(self, partial: Partial, plan: Plan) -> Partial:
        image = self.edited(partial.image, plan.order, plan.params)
        order, params = partial.plan.order + plan.order, torch.cat([partial.plan.params, plan.params])
        return Partial(self._plan(order, params, image), image)

    def _plan(self, order: Order, params: Tensor, image: Tensor) -> Plan:
        return Plan(order, params, float(self.distance(image, self.target)))

    def _screened(self, image: Tensor, orders: list[Order]) -> list[Plan]:
        if len(orders) <= _KEPT:
            return self._fit(image, orders, _STARTS)
        first = sorted(self._fit(image, orders, 1, max_evaluations=_SCREENING), key=lambda plan: plan.distance)
        return self._fit(image, [plan.order for plan in first[:_KEPT]], _STARTS) + first[_KEPT:]

    def _fit(self, image: Tensor, orders: Sequence[Order], starts: int, **options: Any) -> list[Plan]:
        if not orders or not orders[0]:
            return [self._plan((), torch.zeros(0, NUM_PARAMETERS), image)] * len(orders)
        if (init := options.get("init")) is not None:
            options["init"] = init.to(image)[None, None]
        found = fit_edits(image[None], self.target[None], *self._tensors(orders), starts=starts, **options)
        rows, distances = found.params[0].cpu(), found.distance[0].tolist()
        return [Plan(order, rows[p, : len(order)], distances[p]) for p, order in enumerate(orders)]

    def _tensors(self, orders: Sequence[Order]) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """The arguments ops [1, P, K], masks, mask_index and exclusive of fit_edits."""
        longest = max(map(len, orders))
        padded = [[*order, *[None] * (longest - len(order))] for order in orders]
        device = self.image.device
        numbers = [[EditOp.NONE if step is None else EditOp[step.name] for step in row] for row in padded]
        ops = torch.tensor([numbers], device=device)
        if self.masks is None:
            return ops, None, None, None
        places = [[-1 if step is None or step.mask is None else step.mask for step in row] for row in padded]
        outside = [[step is not None and step.exclusive for step in row] for row in padded]
        return ops, self.masks, torch.tensor([places], device=device), torch.tensor([outside], device=device)

    def _apply(self, image: Tensor, steps: Sequence[Step], params: Tensor) -> Tensor:
        ops, masks, places, outside = self._tensors([tuple(steps)])
        where = (masks, None if places is None else places[0], None if outside is None else outside[0])
        return apply_edits(image[None], ops[0], params[None].to(image), *where)[0]

    def _execute(self, image: Tensor, step: Step) -> Tensor:
        assert self.executor is not None  # or it would be no candidate
        mask = None if self.masks is None or step.mask is None else self.masks[step.mask] ^ step.exclusive
        return self.executor.run(image[None], RecipeStep(step.name, (), step.mask, step.exclusive), mask, 1.0)[0]

    def _simplex(self, image: Tensor, order: Order) -> Plan:
        """All parameters of an order together; what no recipe may hold is infinitely far away."""
        counts = [step.parameters for step in order]
        if not any(counts):
            params = torch.zeros(len(order), NUM_PARAMETERS)
            return self._plan(order, params, self.edited(image, order, params))
        start = torch.cat([torch.full((count,), _start(step)) for step, count in zip(order, counts, strict=True)])

        def distance(point: Tensor) -> float:
            parts = point.split(counts)
            if not all(map(_is_valid, order, parts)):
                return math.inf
            self.evaluations += 1
            return float(self.distance(self.edited(image, order, _rows(parts)), self.target))

        point, value, _ = minimise(distance, start.double(), _EVALUATIONS * len(start))
        return Plan(order, _rows(point.split(counts)), value)


def _lead(order: Order) -> Order:
    """The steps of an executor that an order begins with."""
    count = next((k for k, step in enumerate(order) if step.is_edit), len(order))
    return order[:count]


def _is_fused(order: Order) -> bool:
    return all(step.is_edit for step in order)


def _after(lead: Order, plan: Plan) -> Plan:
    return Plan(lead + plan.order, torch.cat([torch.zeros(len(lead), NUM_PARAMETERS), plan.params]), plan.distance)


def _start(step: Step) -> float:
    return EDIT_OPERATORS[EditOp[step.name]].start if step.is_edit else 0.0


def _rows(parts: Sequence[Tensor]) -> Tensor:
    """Parameters of some steps as rows [K, 24]."""
    return torch.stack([torch.nn.functional.pad(part.float(), (0, NUM_PARAMETERS - len(part))) for part in parts])


def _is_valid(step: Step, values: Tensor) -> bool:
    if not len(values):
        return True
    kind = EDIT_KINDS[step.name]
    inside = bool((values >= kind.low).all() and (values <= kind.high).all())
    return inside and (not kind.curve or all(map(is_curve, values.view(-1, kind.curve).tolist())))
