"""plan_edits: known edits are found again, by each method, with masks, and with distances of one's own."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ldie_ext import EditExecutor, EditOp, Recipe, RecipeExecutor, RecipeStep, apply_edits, plan_edits, rle_encode
from ldie_ext.ops.editing.recipe_step import StepKind

SCALARS = ["BRIGHTNESS", "CONTRAST", "SATURATION"]


def picture(side: int = 32, seed: int = 0, most: int = 230) -> Tensor:
    """Noise of three octaves, uint8 [3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(3, side, side)
    for blocks in (4, 8, side):
        noise = torch.rand(1, 3, blocks, blocks, generator=generator)
        total += torch.nn.functional.interpolate(noise, (side, side), mode="bilinear")[0]
    return ((total - total.amin()) / (total.amax() - total.amin()) * most).round().to(torch.uint8)


def edited(image: Tensor, *steps: tuple[str, float], masks: Tensor | None = None) -> Tensor:
    rows = [RecipeStep(name, (value,)) for name, value in steps]
    return Recipe(rows, None if masks is None else rle_encode(masks)).apply(image)


def names(recipe: Recipe) -> list[str]:
    return [step.name for step in recipe.steps]


def test_order_and_parameters_are_found() -> None:
    image = picture()
    target = edited(image, ("SATURATION", -0.45), ("CONTRAST", 0.5), ("BRIGHTNESS", 0.275))
    recipes = plan_edits(image, target, operators=SCALARS)
    assert names(recipes[0]) == ["SATURATION", "CONTRAST", "BRIGHTNESS"]
    assert [step.params[0] for step in recipes[0].steps] == pytest.approx([-0.45, 0.5, 0.275], abs=0.01)
    difference = (recipes[0].apply(image).float() - target.float()).abs()
    assert difference.mean() < 0.5 and len(recipes) <= 16
    assert recipes[0].size == (32, 32) and recipes[0].source_hash == Recipe.hash_of(image)


def test_a_plan_applied_is_the_planned_image() -> None:
    image = picture()
    target = edited(image, ("SATURATION", 0.5), ("CONTRAST", -0.5))
    recipe = plan_edits(image, target, operators=SCALARS)[0]
    ops = torch.tensor([[EditOp[step.name] for step in recipe.steps]])
    params = torch.zeros(1, len(recipe.steps), 24)
    params[0, :, 0] = torch.tensor([step.params[0] for step in recipe.steps])
    assert torch.equal(recipe.apply(image), apply_edits(image[None], ops, params)[0])


def test_few_parameters_go_before_many() -> None:
    """Curves come near, too: of bright pixels there are none, so that a curve can be a factor."""
    image = picture(most=120)
    target = edited(image, ("BRIGHTNESS", 0.4))
    assert names(plan_edits(image, target, operators=["TONE_CURVE", "COLOR_CURVE", "BRIGHTNESS"])[0]) == ["BRIGHTNESS"]
    assert names(plan_edits(image, target, operators=["TONE_CURVE", "COLOR_CURVE"])[0]) == ["TONE_CURVE"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_of_all_sizes(dtype: torch.dtype) -> None:
    image = (picture().to(dtype) / 255).requires_grad_()
    target = (image * 0.75).detach()
    recipe = plan_edits(image, target, operators=SCALARS)[0]
    assert names(recipe) == ["BRIGHTNESS"] and recipe.steps[0].params[0] == pytest.approx(-0.25, abs=1e-3)


@pytest.mark.parametrize("method", ["joint", "beam", "fixed", "epsilon_greedy"])
def test_nothing_to_do_is_no_step(method: str) -> None:
    image = picture()
    assert names(plan_edits(image, image, operators=SCALARS, method=method)[0]) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["beam", "epsilon_greedy"])
@pytest.mark.parametrize("optimizer", ["lm", "nelder_mead"])
def test_greedy_methods_come_near(method: str, optimizer: str) -> None:
    image = picture(16)
    target = edited(image, ("CONTRAST", 0.5), ("BRIGHTNESS", 0.275))
    options = {"method": method, "optimizer": optimizer, "operators": SCALARS, "stop": 0.002}
    recipes = plan_edits(image, target, **options)  # type: ignore[arg-type]
    before, after = ((each.float() - target.float()).abs().mean() for each in (image, recipes[0].apply(image)))
    assert after < before / 5
    assert [names(each) for each in plan_edits(image, target, **options)] == [names(each) for each in recipes]  # type: ignore[arg-type]


def test_fixed_goes_through_the_operators_once() -> None:
    image = picture(16)
    target = edited(image, ("BRIGHTNESS", -0.3), ("CONTRAST", 0.5))
    for operators in (["BRIGHTNESS", "SATURATION", "CONTRAST"], ["CONTRAST", "BRIGHTNESS"]):
        (recipe,) = plan_edits(image, target, method="fixed", operators=operators, stop=0)
        places = [operators.index(name) for name in names(recipe)]
        assert places == sorted(places) and len(places) >= 2
    assert len(plan_edits(image, target, method="fixed", operators=operators, stop=0, max_steps=1)[0].steps) == 1


def test_local_edits() -> None:
    image = picture()
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :16, :20], masks[1, 8:28, 12:30] = True, True
    target = image.clone()
    target[:, ~masks[1]] = edited(image, ("BRIGHTNESS", -0.4))[:, ~masks[1]]
    best = plan_edits(image, target, masks, operators=["BRIGHTNESS", "CONTRAST"], max_steps=2)[0]
    assert [(step.name, step.mask, step.exclusive) for step in best.steps] == [("BRIGHTNESS", 1, True)]
    assert torch.equal(best.apply(image), target)


def test_a_small_local_edit() -> None:
    """Of 16 of 4096 pixels, it is less than what rounding all of them would hide."""
    image = picture(64)
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 30:34, 40:44] = True
    target = torch.where(masks, edited(image, ("BRIGHTNESS", -0.2)), image)
    assert float((image.float() - target.float()).abs().mean()) / 255 < 1 / 1020
    best = plan_edits(image, target, masks, operators=["BRIGHTNESS", "CONTRAST"], max_steps=2)[0]
    assert [(step.name, step.mask, step.exclusive) for step in best.steps] == [("BRIGHTNESS", 0, False)]
    assert best.steps[0].params[0] == pytest.approx(-0.2, abs=0.01)


def test_no_more_steps_than_there_may_be() -> None:
    image = picture(8)
    (recipe,) = plan_edits(image, image, method="fixed", operators=[op for op in EditOp if op not in (0, 14)])
    assert recipe.steps == ()


def test_white_background() -> None:
    image = picture()
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, 4:20, 9:25] = True
    target = edited(image, ("SATURATION", 0.5))
    target[:, ~masks[0]] = 255
    for method in ("joint", "beam"):
        best = plan_edits(image, target, masks, operators=["COLOR_BG", "SATURATION"], method=method)[0]  # type: ignore[arg-type]
        assert ("COLOR_BG", 0, True) in [(step.name, step.mask, step.exclusive) for step in best.steps]
        assert (best.apply(image).float() - target.float()).abs().max() <= 3
    with pytest.raises(ValueError, match="masks must be given for COLOR_BG"):
        plan_edits(image, target, operators=["COLOR_BG"])


def filled_with_the_mean(images: Tensor, holes: Tensor) -> Tensor:
    """An inpainter."""
    outside = images.masked_fill(holes, torch.nan).nanmean((2, 3), keepdim=True)
    return torch.where(holes, outside, images)


@pytest.mark.parametrize("method", ["joint", "beam"])
def test_steps_of_an_executor(method: str) -> None:
    image = picture().float() / 255
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :9, :20], masks[1, 14:28, 12:30] = True, True
    executor = RecipeExecutor(EditExecutor(filled_with_the_mean))
    filled = executor.run(image[None], RecipeStep("INPAINT_OBJ"), masks[1], 1.0)[0]
    target = edited(filled, ("BRIGHTNESS", -0.3))
    recipe = plan_edits(
        image, target, masks, operators=["INPAINT_OBJ", "BRIGHTNESS"], executor=executor, method=method,  # type: ignore[arg-type]
    )[0]  # fmt: skip
    steps = [(step.name, step.mask, step.exclusive) for step in recipe.steps]
    if method == "joint":
        assert steps == [("INPAINT_OBJ", 1, False), ("BRIGHTNESS", None, False)]
    assert ("INPAINT_OBJ", 1, False) in steps and recipe.apply(image).sub(target).abs().mean() < 1e-3


class Inverter:
    """An executor whose one step acts on the whole image or at a mask."""

    kinds: ClassVar = {"INVERT": StepKind(0, 0.0, 0.0)}

    def run(self, images: Tensor, step: RecipeStep, mask: Tensor | None, strength: float) -> Tensor:
        return 1 - images if mask is None else torch.where(mask, 1 - images, images)


def test_a_step_of_an_executor_acts_anywhere() -> None:
    image = picture(16).float() / 255
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, :9, :7] = True
    for step, mask in ((RecipeStep("INVERT"), None), (RecipeStep("INVERT", (), 0, True), ~masks[0])):
        target = Inverter().run(image[None], step, mask, 1.0)[0] * 0.75
        best = plan_edits(image, target, masks, operators=["BRIGHTNESS", "INVERT"], executor=Inverter(), max_steps=2)[0]
        assert best.steps[0] == step and names(best) == ["INVERT", "BRIGHTNESS"]


def test_a_distance_of_ones_own() -> None:
    """Of the brightest channel alone: saturation cannot be seen."""
    image = picture(16)
    target = edited(image, ("BRIGHTNESS", -0.3), ("SATURATION", 0.7))
    calls = []

    def brightest(edited: Tensor, target: Tensor) -> Tensor:
        assert edited.shape == target.shape == (3, 16, 16)
        calls.append(1)
        return (edited.amax(0) - target.amax(0)).abs().mean()

    for method in ("joint", "beam"):
        options = {"operators": ["SATURATION", "BRIGHTNESS"], "method": method, "tolerance": 1e-3, "stop": 2e-3}
        best = plan_edits(image, target, distance=brightest, **options)[0]  # type: ignore[arg-type]
        assert names(best) == ["BRIGHTNESS"] and best.steps[0].params[0] == pytest.approx(-0.3, abs=0.01)
    assert len(calls) > 20
    with pytest.raises(ValueError, match="optimizer must be 'nelder_mead' with a distance"):
        plan_edits(image, target, distance=brightest, optimizer="lm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": torch.zeros(3, 4, 5)}, r"target must be of the image's size .*\[3, 4, 4\]"),
        ({"image": torch.zeros(4, 4)}, r"image must be float or uint8 \[3, H, W\], got \[4, 4\]"),
        ({"image": torch.zeros(3, 4, 4).long()}, r"image must be float or uint8"),
        ({"image": torch.zeros(3, 0, 4), "target": torch.zeros(3, 0, 4)}, "not empty"),
        ({"target": torch.full((3, 4, 4), float("nan"))}, "target must be finite"),
        ({"masks": torch.zeros(1, 4, 5).bool()}, r"masks must be bool \[M, 4, 4\]"),
        ({"masks": torch.zeros(1, 4, 4)}, "masks must be bool"),
        ({"method": "best"}, "method must be one of"),
        ({"optimizer": "adam"}, "optimizer must be one of"),
        ({"operators": ["BRIGHTNES"]}, "operators must be some of BRIGHTNESS, .* got 'BRIGHTNES'"),
        ({"operators": [99]}, "operators must be some of .* got 99"),
        ({"operators": []}, "operators must be different ones, at least one"),
        ({"operators": ["CONTRAST", EditOp.CONTRAST]}, "operators must be different ones"),
        ({"operators": list(EditOp)[1:10], "max_steps": 8}, "max_steps must be smaller"),
        ({"max_steps": 0}, "max_steps must be 1 to 8, got 0"),
        ({"tolerance": -1.0}, "tolerance must be at least 0"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0"),
        ({"beam_width": 0}, "beam_width must be at least 1"),
        ({"epsilon": 2.0}, "epsilon must be from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], message: str) -> None:
    given = {"image": torch.zeros(3, 4, 4), "target": torch.zeros(3, 4, 4), **arguments}
    with pytest.raises(ValueError, match=message):
        plan_edits(**given)  # type: ignore[arg-type]
