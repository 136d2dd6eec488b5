"""Plans on judges: hand-made ones, whose best answer is known, and a discriminator."""

from __future__ import annotations

import pytest
import torch
from ldie.errors import ConfigError
from ldie.systems.edit_discriminator import SYSTEM, EditDiscriminator
from ldie.systems.edit_discriminator.planning import DiscriminatorPlan, plan_by_discriminator, plan_by_judge
from ldie.tasks.editing.replay import edited_batch
from tasks.editing.small_requests import SmallRequests, sample, scene

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

OPS = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.SHARPNESS)


def source(seed: int) -> torch.Tensor:
    """Squares with noise on them, so that sharpness can be seen: float [3, 32, 32]."""
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return (scene(seed, 32).float() / 255 + 0.1 * (noise - 0.5)).clamp(0, 1)


def target_of(image: torch.Tensor, *steps: tuple[EditOp, float], region: torch.Tensor | None = None) -> torch.Tensor:
    ops = torch.tensor([[op for op, _ in steps]])
    rows = torch.stack([EDIT_OPERATORS[op].row(value) for op, value in steps])
    return edited_batch(image[None], ops, rows[None], None if region is None else region[None])[0]


def likes(target: torch.Tensor, sharpness: float = 20.0):
    """D = exp(-c L1 to a known target)."""
    return lambda pictures: torch.exp(-sharpness * (pictures - target).abs().mean((1, 2, 3)))


@pytest.mark.parametrize(
    "steps",
    [
        [(EditOp.BRIGHTNESS, -0.4)],
        [(EditOp.SATURATION, 0.5)],
        [(EditOp.SHARPNESS, 0.7)],
        [(EditOp.SATURATION, -0.7), (EditOp.BRIGHTNESS, 0.3)],
        [(EditOp.CONTRAST, 0.6), (EditOp.BRIGHTNESS, -0.3)],
    ],
)
def test_the_known_operators_are_found(steps):
    image = source(len(steps))
    target = target_of(image, *steps)
    plan = plan_by_judge(likes(target), image, OPS, max_steps=3)
    assert set(plan.steps.ops.tolist()) == {int(op) for op, _ in steps}
    assert plan.start < plan.realness
    assert plan.realness > 0.9
    if plan.steps.ops.tolist() == [op for op, _ in steps]:  # in another order amounts are others
        assert plan.steps.params[:, 0].tolist() == pytest.approx([value for _, value in steps], abs=0.1)


def test_a_plan_makes_what_was_judged():
    """Steps are tried on the picture before them: all together, from the source, they have the plan's realness."""
    image = source(3)
    judge = likes(target_of(image, (EditOp.SATURATION, -0.6), (EditOp.CONTRAST, 0.5)))
    plan = plan_by_judge(judge, image, OPS, max_steps=2)
    result = edited_batch(image[None], plan.steps.ops[None], plan.steps.params[None], None)
    assert len(plan.steps) == 2
    assert float(judge(result)) == pytest.approx(plan.realness, abs=1e-5)


def test_nothing_is_done_where_nothing_helps():
    image = source(4)
    plan = plan_by_judge(likes(image), image, OPS, max_steps=3)
    assert len(plan.steps) == 0
    assert plan.realness == plan.start == pytest.approx(1)


def test_steps_stay_in_the_region():
    image, region = source(5), torch.zeros(32, 32, dtype=torch.bool)
    region[:, 16:] = True
    target = target_of(image, (EditOp.BRIGHTNESS, -0.5), region=region)
    plan = plan_by_judge(likes(target), image, OPS, max_steps=2, region=region)
    assert plan.steps.ops.tolist() == [EditOp.BRIGHTNESS]
    assert plan.realness > 0.95


def test_curves_and_factors_are_searched_in_all_their_parameters():
    image = source(6)
    curve = EDIT_OPERATORS[EditOp.TONE_CURVE].row(torch.tensor([0.5, 0.6, 0.8, 1.0, 1.2, 1.3, 1.5, 1.6]))
    target = edited_batch(image[None], torch.tensor([[EditOp.TONE_CURVE]]), curve[None, None], None)[0]
    plan = plan_by_judge(likes(target), image, (EditOp.TONE_CURVE, EditOp.WHITE_BALANCE, EditOp.COLOR_CURVE), 1)
    assert plan.realness > 0.75 > plan.start
    assert all(
        row[EDIT_OPERATORS[EditOp(op)].parameters :].eq(0).all()
        for op, row in zip(plan.steps.ops.tolist(), plan.steps.params)
    )


def test_a_discriminator_is_planned_on_at_its_own_size():
    data = SmallRequests(4)
    torch.manual_seed(0)
    model = EditDiscriminator.from_config(SYSTEM.preset("tiny"), SYSTEM.task.facts(data)).eval()
    given = sample("brighter", 1)
    plan = plan_by_discriminator(model, given.source, given.request, model.operators, max_steps=2, beam=2)
    assert isinstance(plan, DiscriminatorPlan)
    assert plan.realness >= plan.start
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("change", [{"operators": ()}, {"max_steps": 0}, {"beam": 0}, {"refinements": (1, 0)}])
def test_what_cannot_be_searched_is_said(change):
    arguments = {"operators": OPS, "max_steps": 1, "beam": 1, **change}
    with pytest.raises(ConfigError, match="operators, max_steps, beam and refinements must be at least 1 each, got"):
        plan_by_judge(likes(source(0)), source(0), **arguments)
