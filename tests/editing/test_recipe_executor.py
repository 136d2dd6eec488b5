# SPDX-License-Identifier: Apache-2.0
"""Recipes with steps of an EditExecutor: exactly its own, weaker, in place, and checked when they are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from editing.recipes import LOOK, left_half

import ldie_ext
from ldie_ext import EditExecutor, Recipe, RecipeExecutor, RecipeStep
from ldie_ext.ops.editing.executor_operators import EXECUTOR_OPERATORS

WHOLE = {
    "ROTATE": (0.4,),
    "FLIP": (1.0,),
    "CROP": (0.1, 0.2, 0.9, 0.8),
    "RADIAL_BLUR": (0.2,),
    "FACET_BLUR": (2.0,),
    "DENOISE": (0.3,),
    "DEHAZE": (0.8,),
}
MASK = ldie_ext.rle_encode(left_half(18, 24)[None])


def test_every_step_is_known() -> None:
    assert RecipeExecutor().kinds.keys() == EXECUTOR_OPERATORS.keys()
    for name, operator in EXECUTOR_OPERATORS.items():
        limits = {(each.low, each.high) for each in operator.limits}
        kind = RecipeExecutor().kinds[name]
        assert limits <= {(kind.low, kind.high)} and kind.parameters == len(operator.limits)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("mask", [None, 0])
def test_a_step_is_the_executors(name: str, mask: int | None) -> None:
    image = torch.rand(3, 18, 24)
    step = RecipeStep(name, WHOLE[name], mask, mask is not None)
    recipe = Recipe([LOOK[0], step, *LOOK[1:]], MASK)
    before = Recipe(LOOK[:1]).apply(image)[None]
    place = None if mask is None else left_half(18, 24)
    middle = EditExecutor().apply(before, name, WHOLE[name], place, exclusive=mask is not None)
    assert torch.equal(recipe.apply(image), Recipe(LOOK[1:]).apply(middle)[0])


@pytest.mark.parametrize("name", WHOLE)
def test_strength(name: str) -> None:
    image = torch.rand(3, 18, 24)
    recipe = Recipe([RecipeStep(name, WHOLE[name])])
    torch.testing.assert_close(recipe.apply(image, strength=0), image, rtol=0, atol=1e-5)
    half, whole = recipe.apply(image, strength=0.5), recipe.apply(image)
    if name in ("FLIP", "FACET_BLUR"):
        torch.testing.assert_close(half, (image + whole) / 2, rtol=0, atol=1e-6)
    else:
        start = torch.tensor([limits.start for limits in EXECUTOR_OPERATORS[name].limits])
        params = tuple(((start + torch.tensor(WHOLE[name])) / 2).tolist())
        torch.testing.assert_close(half, Recipe([RecipeStep(name, params)]).apply(image), rtol=0, atol=1e-5)


def test_an_object_is_inpainted() -> None:
    pytest.importorskip("cv2")
    pixels = np.full((18, 24, 3), 60, np.uint8)
    pixels[4:8, 4:8] = 250
    mask = torch.zeros(1, 18, 24, dtype=torch.bool)
    mask[:, 3:9, 3:9] = True
    recipe = Recipe([RecipeStep("INPAINT_OBJ", (), 0)], ldie_ext.rle_encode(mask))
    assert np.abs(recipe.apply(pixels).astype(int) - 60).max() <= 1
    deep = recipe.apply(pixels.astype(np.uint16) * 257)
    assert np.abs(deep.astype(int) - 60 * 257).max() <= 257
    half = recipe.apply(pixels, strength=0.5)
    assert np.abs(half[4:8, 4:8].astype(int) - 155).max() <= 1 and np.abs(half[12:].astype(int) - 60).max() == 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (RecipeStep("FLIP", (0.5,)), r"steps\[0\] \(FLIP\): params\[0\] must be a whole number, got 0.5"),
        (RecipeStep("FACET_BLUR", (5.0,)), r"params\[0\] must be from 1 to 4, got 5"),
        (RecipeStep("CROP", (0.0, 0.0, 1.0)), "params must be 4 numbers, got 3"),
        (RecipeStep("CROP", (0.5, 0.0, 0.5, 1.0)), r"steps\[0\] \(CROP\): params must have x1 < x2 and y1 < y2, got"),
        (RecipeStep("CROP", (0.0, 0.9, 1.0, 0.1)), "params must have x1 < x2 and y1 < y2, got"),
        (RecipeStep("CROP", (0.5, 0.0, 0.500000001, 1.0)), "params must have x1 < x2"),
        (RecipeStep("ROTATE_OBJ", (0.5,)), "mask must be the number of a mask, which names the object"),
    ],
)
def test_what_is_refused(step: RecipeStep, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe([step])


def test_what_is_a_recipe_is_applied() -> None:
    """The limits of a recipe and of an executor are the same, also a little beyond."""
    for name, params in WHOLE.items():
        kind = RecipeExecutor().kinds[name]
        if kind.box or kind.whole:
            continue
        for limit, beyond in ((kind.low, -1), (kind.high, 1)):
            step = RecipeStep(name, tuple(limit + beyond * 9e-7 for _ in params))
            for dtype in (torch.float32, torch.float64):
                Recipe([step]).apply(torch.rand(3, 8, 8, dtype=dtype))
            with pytest.raises(ValueError, match=r"params\[0\] must be from"):
                Recipe([RecipeStep(name, tuple(limit + beyond * 2e-6 for _ in params))])


@pytest.mark.parametrize("name", WHOLE)
def test_no_cube(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^steps\[0\] \({name}\) does not edit each pixel by itself"):
        Recipe([RecipeStep(name, WHOLE[name])]).to_cube()
