# SPDX-License-Identifier: Apache-2.0
"""Recipes as tables of colours, which Pillow reads: near the recipe, and only of what each pixel does by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from editing.cube_file import read_cube
from editing.edit_inputs import CHAIN, sequences
from editing.recipes import LOOK, masked_recipe
from numpy.typing import NDArray
from PIL import Image

from ldie_ext import Recipe, RecipeStep


def photograph(photographs: Path, number: int) -> NDArray[np.uint8]:
    paths = sorted((photographs / "val2017").glob("*.jpg"))
    with Image.open(paths[number]) as image:
        return np.asarray(image.convert("RGB"))


def generated() -> NDArray[np.uint8]:
    """Ramps of all colours, and noise."""
    y, x = np.mgrid[0:256, 0:384]
    ramps = np.stack([x % 256, y, (x + 2 * y) % 256], axis=-1)
    noise = np.random.default_rng(0).integers(-20, 21, ramps.shape)
    return (ramps + noise).clip(0, 255).astype(np.uint8)


def check_cube(pixels: NDArray[np.uint8], recipe: Recipe) -> None:
    for size, mean, largest in ((33, 0.4, 8), (65, 0.1, 3)):
        table = read_cube(recipe.to_cube(size))
        found = np.asarray(Image.fromarray(pixels).filter(table)).astype(int)
        error = np.abs(found - recipe.apply(pixels))
        assert error.mean() <= mean and error.max() <= largest, (size, error.mean(), error.max())


def look_of_five() -> Recipe:
    return Recipe.from_edits(
        *(value[0] for value in vars(sequences([CHAIN], inside=0.3)).values() if value is not None)
    )


def test_cube_of_a_generated_picture() -> None:
    check_cube(generated(), look_of_five())


@pytest.mark.parametrize("number", [0, 20, 40])
def test_cube_of_photographs(photographs: Path, number: int) -> None:
    check_cube(photograph(photographs, number), look_of_five())


def test_cube_is_the_recipe_at_its_colors() -> None:
    table = read_cube(Recipe(LOOK).to_cube(33))
    colors = np.array(table.table).reshape(33, 33, 33, 3)  # blue, green, red
    point = torch.tensor([5, 16, 32]) / 32
    expected = Recipe(LOOK).apply(point.view(3, 1, 1)).flatten()
    np.testing.assert_allclose(colors[32, 16, 5], expected.numpy(), rtol=0, atol=1e-6)
    identity = np.array(read_cube(Recipe(LOOK).to_cube(33, strength=0)).table).reshape(33, 33, 33, 3)
    np.testing.assert_allclose(identity[1, 2, 3], np.array([3, 2, 1]) / 32, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["SHARPNESS", "BLUR", "EDGE"])
def test_no_cube_of_stencils(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^steps\[1\] \({name}\) does not edit each pixel by itself"):
        Recipe([*LOOK[:1], RecipeStep(name, (0.5,))]).to_cube()


def test_no_cube_of_masks_and_other_sizes() -> None:
    with pytest.raises(ValueError, match=r"^steps\[0\] \(EXPOSURE\) has a mask"):
        masked_recipe().to_cube()
    with pytest.raises(ValueError, match="size must be 33 or 65, got 17"):
        Recipe([]).to_cube(17)
