# SPDX-License-Identifier: Apache-2.0
"""Recipes to test with."""

import torch
from torch import Tensor

import ldie_ext
from ldie_ext import Recipe, RecipeStep

LOOK = [RecipeStep("BRIGHTNESS", (0.2,)), RecipeStep("CONTRAST", (0.4,)), RecipeStep("WHITE_BALANCE", (1.1, 1.0, 0.8))]


def left_half(height: int = 6, width: int = 8) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[:, : width // 2] = True
    return mask


def masked_recipe(height: int = 6, width: int = 8) -> Recipe:
    """Lighter on the left, darker elsewhere than on the left."""
    steps = [RecipeStep("EXPOSURE", (1.0,), 0), RecipeStep("EXPOSURE", (-1.0,), 0, True)]
    return Recipe(steps, ldie_ext.rle_encode(left_half(height, width)[None]))
