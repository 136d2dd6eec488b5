"""The edits between two images: which operators, in which order, with which parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ldie_ext._options import option_code
from ldie_ext._public import is_tensor, shown
from ldie_ext.ops.editing._greedy_search import Greedy, Partial
from ldie_ext.ops.editing._joint_search import count_orders, joint_search
from ldie_ext.ops.editing._plan_pair import Pair, mean_absolute
from ldie_ext.ops.editing._plans import Plan, Step
from ldie_ext.ops.editing.edit_op import EditOp
from ldie_ext.ops.editing.quantisation import TOLERANCE, as_unit, floor_of
from ldie_ext.ops.editing.recipe import Recipe
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS, RecipeStep, StepExecutor
from ldie_ext.ops.masks.rle_encode import rle_encode

__all__ = ["plan_edits"]

METHODS = ("joint", "beam", "fixed", "epsilon_greedy")
OPTIMIZERS = ("lm", "nelder_mead")
Method = Literal["joint", "beam", "fixed", "epsilon_greedy"]
Optimizer = Literal["lm", "nelder_mead"]

OPERATORS = (
    EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.SHARPNESS, EditOp.TONE_CURVE, EditOp.COLOR_CURVE,
)  # fmt: skip
MOST_STEPS, MOST_ORDERS, MOST_RECIPES = 8, 20000, 16
_JOINT_STEPS = 3


@torch.no_grad()
def plan_edits(
    image: Tensor,
    target: Tensor,
    masks: Tensor | None = None,
    *,
    method: Method = "joint",
    operators: Sequence[EditOp | str] = OPERATORS,
    max_steps: int | None = None,
    tolerance: float = TOLERANCE,
    optimizer: Optimizer | None = None,
    distance: Callable[[Tensor, Tensor], Tensor | float] | None = None,
    executor: StepExecutor | None = None,
    beam_width: int = 3,
    epsilon: float = 0.05,
    stop: float = 1e-3,
    seed: int = 0,
) -> list[Recipe]:
    """Finds edits that make one image of another, as recipes, the best first.

    ``'joint'`` fits every order of up to ``max_steps`` different operators, all parameters of an order together, those
    with few parameters first, and chooses the one with the fewest (a curve has 7 or 21 free ones) among those

        ``distance <= max(best distance, floor) + tolerance``

    where the floor is what rounding the target to 8 bits leaves by itself, 1 / 1020 times the share of its values that
    are neither black nor white, and 0 for a target of other values. When orders of so many parameters reach the floor
    but for the tolerance, those with more are not tried. The tolerance, 1 / 7650 unless given, follows from the same
    rounding. With masks, an edit may reach few values: floor and tolerance are then those of the values where image and
    target differ. Distances alone say little: a wrong order with a curve often comes as near as the right one.

    The others are the planner of *Learning by Planning*: steps one after another, each fitted alone to come as near as
    it can. ``'beam'`` continues the best ``beam_width`` plans by each operator that they have not got, takes those that
    are nearer than the best plan of the level before, and ends when there is none; ``'fixed'`` goes through the
    operators once in their order; ``'epsilon_greedy'`` is a beam that now and then goes on with plans drawn at random.
    They come near to the target and often miss the edits that were made, as the first steps take over what later ones
    did.

    Args:
        image: [3, H, W], float in [0, 1] or uint8.
        target: the same size, float or uint8.
        masks: bool [M, H, W]. Each operator may then act on the whole image, on one mask, or everywhere else.
        method: 'joint', 'beam', 'fixed' or 'epsilon_greedy'.
        operators: those to choose from, each at most once in a plan: names or numbers of :class:`EditOp`, and names
            of the executor's steps without parameters, such as INPAINT_OBJ of :class:`RecipeExecutor`. This one acts
            on a mask, COLOR_BG on a mask or outside of it. 'joint' by 'lm' has an executor's steps only before all
            others.
        max_steps: 1 to 8; None: 3 for 'joint', where 20,000 orders are the most, else all operators,
            but 8 at most.
        tolerance: of 'joint', see above; at least 0.
        optimizer: 'lm', which is :func:`fit_edits`, or 'nelder_mead', one image per evaluation, which is the
            original's and slow. None: 'lm', but 'nelder_mead' with a distance.
        distance: from an edited image and the target, both float [3, H, W], to a number; None: their mean absolute
            difference. Another one has no floor and is for 'nelder_mead'.
        executor: of the steps that apply_edits does not have.
        beam_width: of 'beam' and 'epsilon_greedy'.
        epsilon: of 'epsilon_greedy', the probability in [0, 1] of each level to be drawn.
        stop: a distance at which the methods but 'joint' end.
        seed: of the draws.

    Returns:
        At most 16 recipes; that of equal images has no steps.

    Raises:
        ValueError, RuntimeError: shapes, dtypes, devices or options that do not fit.

    Differentiable: no. Deterministic: yes.

    Source: the original planner: Shi et al., Learning by Planning: Language-Guided Global Image Editing,
    arXiv:2106.13156. Levenberg-Marquardt: Marquardt, SIAM J. Appl. Math. 11 (1963); Nelder and Mead, Computer Journal 7
    (1965).

    Example:
        >>> image = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0))
        >>> edited = Recipe([RecipeStep("CONTRAST", (0.5,)), RecipeStep("BRIGHTNESS", (-0.25,))]).apply(image)
        >>> best = plan_edits(image, edited, operators=["BRIGHTNESS", "CONTRAST", "SATURATION"])[0]
        >>> [(step.name, round(step.params[0], 3)) for step in best.steps]
        [('CONTRAST', 0.5), ('BRIGHTNESS', -0.25)]
    """
    option_code("method", method, METHODS)
    chosen = optimizer or ("lm" if distance is None else "nelder_mead")
    option_code("optimizer", chosen, OPTIMIZERS)
    if distance is not None and chosen == "lm":
        raise ValueError("optimizer must be 'nelder_mead' with a distance, got 'lm'")
    _check_images(image, target, masks)
    _check_least("tolerance", tolerance, 0)
    _check_least("beam_width", beam_width, 1)
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be from 0 to 1, got {shown(epsilon)}")
    candidates = _candidates(operators, 0 if masks is None else len(masks), executor)
    steps = _max_steps(max_steps, method, candidates)
    pair = Pair(as_unit(image), as_unit(target), masks, executor, distance or mean_absolute, chosen == "nelder_mead")
    if method == "joint":
        plans = plan_jointly(pair, candidates, steps, tolerance)
    else:
        search = Greedy(
            width=1 if method == "fixed" else beam_width,
            fixed=method == "fixed",
            epsilon=epsilon if method == "epsilon_greedy" else 0.0,
            stop=stop,
        )
        plans = search.search(Partial(pair.unedited(), pair.image), candidates, steps, pair.fit_steps, seed)
    return [_recipe(plan, pair, image) for plan in plans[:MOST_RECIPES]]


def plan_jointly(pair: Pair, candidates: Sequence[Step], max_steps: int, tolerance: float = TOLERANCE) -> list[Plan]:
    """Plans of 'joint', the chosen one first."""
    floor = 0.0
    if pair.distance is mean_absolute:
        edited = None if pair.masks is None else pair.image != pair.target  # what no edit reached has no error, either
        floor = floor_of(pair.target, edited)
        tolerance *= 1.0 if edited is None else float(edited.double().mean())
    return joint_search(pair.unedited(), candidates, max_steps, pair.fit_orders, floor, tolerance)


def _check_images(image: Tensor, target: Tensor, masks: Tensor | None) -> None:
    for name, value in (("image", image), ("target", target)):
        if not (value.is_floating_point() or value.dtype == torch.uint8) or value.dim() != 3 or value.shape[0] != 3:
            raise ValueError(f"{name} must be float or uint8 [3, H, W], got {shown(value)}")
    if image.shape != target.shape or not image.numel():
        raise ValueError(f"target must be of the image's size and not empty, {list(image.shape)}, got {shown(target)}")
    for name, value in (("image", image), ("target", target)):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name} must be finite, got {shown(value)} with NaN or infinity")
    if target.device != image.device:
        raise ValueError(f"target must be on the image's device, {image.device}, got {shown(target)}")
    if masks is not None and (not is_tensor(masks, torch.bool, 3) or masks.shape[1:] != image.shape[1:]):
        raise ValueError(f"masks must be bool [M, {image.shape[1]}, {image.shape[2]}], got {shown(masks)}")


def _check_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}, got {shown(value)}")


def _candidates(operators: Sequence[EditOp | str], masks: int, executor: StepExecutor | None) -> list[Step]:
    kinds = {**EDIT_KINDS, **({} if executor is None else executor.kinds)}
    places = [(mask, exclusive) for mask in range(masks) for exclusive in (False, True)]
    candidates: list[Step] = []
    numbers = {int(op): op.name for op in EditOp}
    for operator in operators:
        name = numbers.get(operator, operator) if isinstance(operator, int) else operator
        if name not in kinds:
            raise ValueError(f"operators must be some of {', '.join(kinds)}, got {shown(name)}")
        if name not in EDIT_KINDS and kinds[name].parameters:
            raise ValueError(f"operators of an executor must be without parameters, got {name}")
        on_object, background = kinds[name].needs_mask, name == EditOp.COLOR_BG.name
        if (on_object or background) and not masks:
            raise ValueError(f"masks must be given for {name}, which edits no whole image")
        whole = [] if on_object or background else [Step(name)]
        candidates += whole + [Step(name, *place) for place in places if not (on_object and place[1])]
    if len({step.name for step in candidates}) != len(operators) or not operators:
        raise ValueError(f"operators must be different ones, at least one, got {len(operators)} of them")
    return candidates


def _max_steps(given: int | None, method: str, candidates: Sequence[Step]) -> int:
    different = len({step.name for step in candidates})
    most = _JOINT_STEPS if method == "joint" else MOST_STEPS
    steps = min(most, different) if given is None else given
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"max_steps must be 1 to {MOST_STEPS}, got {shown(steps)}")
    orders = count_orders(candidates, steps)
    if method == "joint" and orders > MOST_ORDERS:
        raise ValueError(
            f"max_steps must be smaller, or operators or masks fewer: there are {orders} orders, over {MOST_ORDERS}"
        )
    return steps


def _recipe(plan: Plan, pair: Pair, image: Tensor) -> Recipe:
    """The plan with all of the pair's masks, so that a mask has the number that it came with."""
    steps = [
        RecipeStep(step.name, tuple(row[: EDIT_KINDS[step.name].parameters].tolist()) if step.is_edit else (),
                   step.mask, step.exclusive)
        for step, row in zip(plan.order, plan.params, strict=True)
    ]  # fmt: skip
    local = pair.masks is not None and any(step.mask is not None for step in plan.order)
    masks = rle_encode(pair.masks.cpu()) if local and pair.masks is not None else None
    return Recipe(steps, masks, (image.shape[1], image.shape[2]), Recipe.hash_of(image), executor=pair.executor)
