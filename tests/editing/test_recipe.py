# SPDX-License-Identifier: Apache-2.0
"""Recipes: exactly apply_edits, at any size, weaker, in part; as files; as tables of colours; and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import run_clean
from editing.edit_inputs import OPERATORS, POINTWISE, STENCILS, random_row, sequences
from editing.recipes import LOOK, left_half, masked_recipe
from op_checks import PEAK
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp, Recipe, RecipeStep, StepKind
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.uint8])
def test_equals_apply_edits_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 6, 8, dtype=torch.float64)
    images = (images * 255).to(dtype) if dtype == torch.uint8 else images.to(dtype)
    edits = sequences([[EditOp.NONE, *OPERATORS]])
    masks, index = torch.rand(3, 6, 8) < 0.5, torch.randint(-1, 3, edits.ops.shape)
    index[0, 1] = 2
    exclusive = torch.rand(edits.ops.shape) < 0.5
    recipe = Recipe.from_edits(edits.ops[0], edits.params[0], masks, index[0], exclusive[0], source=images[0])
    recipe.save(tmp_path / "look.json")
    sample = [value.expand(2, *value.shape[1:]) for value in (edits.ops, edits.params, index, exclusive)]
    expected = ldie_ext.apply_edits(images, *sample[:2], masks, *sample[2:])
    found = Recipe.load(tmp_path / "look.json").apply(images)
    assert found.dtype == dtype
    assert torch.equal(found, expected)
    assert torch.equal(recipe.apply(images[0]), expected[0])


def test_arrays_are_edited_as_tensors() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    before = pixels.copy()
    recipe = masked_recipe()
    edited = recipe.apply(pixels)
    assert np.array_equal(pixels, before) and edited.dtype == np.uint8
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    assert np.array_equal(edited, recipe.apply(tensor).permute(1, 2, 0).numpy())
    pixels.flags.writeable = False
    assert np.array_equal(recipe.apply(pixels[::-1])[::-1].shape, edited.shape)


@pytest.mark.parametrize(
    ("ops", "most"), [([POINTWISE[k % 10] for k in range(70)], 32), ([STENCILS[k % 3] for k in range(20)], 8)]
)
def test_more_steps_than_one_call_takes(ops: list[EditOp], most: int) -> None:
    image = torch.randint(0, 256, (3, 25, 27), dtype=torch.uint8)
    edits = sequences([ops], inside=0.2)
    recipe = Recipe.from_edits(edits.ops[0], edits.params[0])
    expected = image[None].float() / 255
    for first in range(0, len(ops), most):
        part = slice(first, first + most)
        expected = ldie_ext.apply_edits(expected, edits.ops[:, part], edits.params[:, part])
    assert len(recipe.steps) == len(ops)
    assert torch.equal(recipe.apply(image.float() / 255), expected[0])
    bytes_ = (expected[0] * 255 + 0.5).to(torch.uint8)  # rounded at the end alone
    assert torch.equal(recipe.apply(image), bytes_)
    assert np.array_equal(recipe.apply(image.permute(1, 2, 0).numpy()), bytes_.permute(1, 2, 0).numpy())


def test_hash_is_of_the_pixels() -> None:
    image = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    assert Recipe.hash_of(image) == Recipe.hash_of(image.float() / 255)
    assert Recipe.hash_of(image) != Recipe.hash_of(image.view(3, 5, 4))
    assert Recipe.hash_of(image).startswith("sha256:") and len(Recipe.hash_of(image)) == 7 + 64


def test_some_of_the_steps() -> None:
    image = torch.rand(3, 4, 5)
    recipe = Recipe(LOOK)
    none = recipe.apply(image, steps=0)
    assert torch.equal(none, image) and none.data_ptr() != image.data_ptr()
    pixels = np.zeros((4, 5, 3), np.uint8)
    recipe.apply(pixels, steps=0)[:] = 9
    assert not pixels.any()
    assert torch.equal(recipe.apply(image, steps=2), Recipe(LOOK[:2]).apply(image))
    assert torch.equal(recipe.apply(image, steps=3), recipe.apply(image))


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_strength_goes_from_nothing_to_all(op: EditOp) -> None:
    image = torch.rand(3, 16, 16)
    recipe = Recipe([RecipeStep(op.name, tuple(random_row(op)[: EDIT_OPERATORS[op].parameters].tolist()))])
    whole = recipe.apply(image)
    torch.testing.assert_close(recipe.apply(image, strength=0), image, rtol=0, atol=1e-6)
    assert torch.equal(recipe.apply(image, strength=1), whole)
    half = recipe.apply(image, strength=np.float32(0.5))
    if op in (EditOp.COLOR_BG, EditOp.COLORIZE, EditOp.COLOR_CURVE, EditOp.TONE_CURVE, EditOp.BLACK_WHITE):
        torch.testing.assert_close(half, (image + whole) / 2, rtol=0, atol=1e-5)  # where it is a blend
    else:
        row = torch.tensor(recipe.steps[0].params)
        start = EDIT_OPERATORS[op].start
        moved = Recipe([RecipeStep(op.name, tuple((start + (row - start) / 2).tolist()))])
        torch.testing.assert_close(half, moved.apply(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("exclusive", [False, True])
def test_strength_of_what_always_changes_the_image_keeps_its_mask(exclusive: bool) -> None:
    image, rle = torch.rand(3, 6, 8), ldie_ext.rle_encode(left_half()[None])
    steps = [RecipeStep("EXPOSURE", (0.5,), 0), RecipeStep("COLOR_BG", (0.0,), 0, exclusive)]
    half = Recipe(steps, rle).apply(image, strength=0.5)
    first = Recipe(steps[:1], rle).apply(image, strength=0.5)
    inside = left_half() != exclusive
    torch.testing.assert_close(half[:, inside], (first[:, inside] + 1) / 2, rtol=0, atol=1e-6)
    assert torch.equal(half[:, ~inside], first[:, ~inside])


@pytest.mark.parametrize("size", [(12, 16), (3, 4), (601, 803), (599, 797)])
def test_masks_follow_the_size(size: tuple[int, int]) -> None:
    image = torch.full((3, *size), 0.25)
    edited = masked_recipe().apply(image)
    columns = ((2 * torch.arange(size[1]) + 1) * 8 // (2 * size[1])) < 4
    assert torch.equal(edited, torch.where(columns, 0.5, 0.125).expand(3, *size))


def test_preview_to_full_size() -> None:
    """What pointwise steps do to a preview is what they do to the photograph, pixel for pixel."""
    small = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    large = small.repeat_interleave(7, 1).repeat_interleave(7, 2)
    steps = [*LOOK, RecipeStep("SATURATION", (0.5,), 0), RecipeStep("HUE", (0.1,), 0, True)]
    recipe = Recipe(steps, ldie_ext.rle_encode(left_half(20, 30)[None]))
    edited = recipe.apply(small)
    assert torch.equal(recipe.apply(large), edited.repeat_interleave(7, 1).repeat_interleave(7, 2))


def test_a_region_keeps_the_rest() -> None:
    image, region = torch.rand(2, 3, 6, 8), left_half(3, 4)
    edited = Recipe(LOOK).apply(image, region=region)
    whole, inside = Recipe(LOOK).apply(image), left_half()
    assert torch.equal(edited[..., inside], whole[..., inside])
    assert torch.equal(edited[..., ~inside], image[..., ~inside])
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    assert np.array_equal(Recipe(LOOK).apply(pixels, region=region)[:, 4:], pixels[:, 4:])


def test_gradients_reach_the_image() -> None:
    image = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: Recipe(LOOK).apply(x), (image,))


@pytest.mark.parametrize("size", [(5, 7), (700, 900)])
def test_sixteen_bits_in_tiles(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (*size, 3), np.uint16)
    steps = [*LOOK, RecipeStep("SHARPNESS", (0.7,)), RecipeStep("EXPOSURE", (0.5,), 0), RecipeStep("BLUR", (0.5,), 0)]
    recipe = Recipe([*steps, *(10 * [RecipeStep("EDGE", (0.1,))])], ldie_ext.rle_encode(left_half(*size)[None]))
    edited = recipe.apply(pixels)
    whole = recipe.apply(torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 65535)
    expected = (whole * 65535 + 0.5).permute(1, 2, 0).numpy().astype(np.uint16)
    assert edited.dtype == np.uint16
    assert np.array_equal(edited, expected)
    assert np.array_equal(Recipe([]).apply(pixels), pixels)


def test_sixteen_bits_need_little_more_than_the_pixels(tmp_path: Path) -> None:
    Recipe([*LOOK, RecipeStep("SHARPNESS", (0.5,))]).save(tmp_path / "look.json")
    code = f"""{PEAK}
import numpy as np
from ldie_ext import Recipe
recipe = Recipe.load("look.json")
recipe.apply(np.full((64, 64, 3), 9999, np.uint16))
before = peak()
image = np.full((3000, 4000, 3), 9999, np.uint16)
recipe.apply(image)
print((peak() - before) * 1024 - 2 * image.nbytes)
"""
    assert int(run_clean(code, tmp_path)) <= 64 << 20


class Mirror:
    """An executor of one step, that moves pixels."""

    kinds: Mapping[str, StepKind] = {"MIRROR": StepKind(1, 0, 1, identity=None, halo=None)}

    def run(self, images: Tensor, step: RecipeStep, mask: Tensor | None, strength: float) -> Tensor:
        flipped = images.flip(-1)
        return flipped if mask is None else torch.where(mask, flipped, images)


def test_an_executor_does_its_steps(tmp_path: Path) -> None:
    steps = [LOOK[0], RecipeStep("MIRROR", (1.0,)), *LOOK[1:]]
    recipe = Recipe(steps, executor=Mirror())
    image = torch.rand(3, 4, 5)
    assert torch.equal(recipe.apply(image), Recipe(LOOK).apply(image).flip(-1))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    assert np.array_equal(recipe.apply(pixels), Recipe(LOOK).apply(pixels)[:, ::-1])
    deep = pixels.astype(np.uint16) * 257
    assert np.array_equal(recipe.apply(deep), Recipe(LOOK).apply(deep)[:, ::-1])
    recipe.save(tmp_path / "flip.json")
    assert Recipe.load(tmp_path / "flip.json", Mirror()).steps == recipe.steps
    with pytest.raises(ValueError, match=r"steps\[1\]: unknown operator 'MIRROR'; known: BRIGHTNESS, "):
        Recipe.load(tmp_path / "flip.json")
    with pytest.raises(ValueError, match=r"^steps\[1\] \(MIRROR\) does not edit each pixel by itself"):
        recipe.to_cube()
    half = Recipe(
        [RecipeStep("MIRROR", (1.0,), 0, True)], ldie_ext.rle_encode(left_half(4, 6)[None]), executor=Mirror()
    )
    image = torch.rand(3, 4, 6)
    assert torch.equal(half.apply(image)[..., :3], image[..., :3])
    assert torch.equal(half.apply(image)[..., 3:], image.flip(-1)[..., 3:])


BAD_CALLS: dict[str, Callable[[], object]] = {
    "strength must be from 0 to 1, got 1.5": lambda: Recipe(LOOK).apply(torch.rand(3, 2, 2), strength=1.5),
    "strength must be from 0 to 1, got nan": lambda: Recipe(LOOK).apply(torch.rand(3, 2, 2), strength=float("nan")),
    "steps must be 0 to 3, of so many the recipe is, got 4": lambda: Recipe(LOOK).apply(torch.rand(3, 2, 2), steps=4),
    "image must be a float or uint8 tensor": lambda: Recipe(LOOK).apply(torch.rand(4, 2, 2)),
    "got int64 [2, 2, 3]": lambda: Recipe(LOOK).apply(np.zeros((2, 2, 3), np.int64)),
    "got None": lambda: Recipe(LOOK).apply(None),  # type: ignore[type-var]
    "the aspect of the recipe's masks, 6 x 8, got 8 x 6": lambda: masked_recipe().apply(torch.rand(3, 8, 6)),
    "the aspect of region, 6 x 8, got 90 x 60": lambda: Recipe(LOOK).apply(torch.rand(3, 90, 60), region=left_half()),
    "region must be a bool tensor [H, W], got": lambda: Recipe(LOOK).apply(torch.rand(3, 6, 8), region=torch.ones(6)),
    "steps[0] must be a RecipeStep, got": lambda: Recipe(["EXPOSURE"]),  # type: ignore[list-item]
    "source_hash must be a text or None, got 5": lambda: Recipe(LOOK, source_hash=5),  # type: ignore[arg-type]
    "version must be 1, got 2": lambda: Recipe(LOOK, version=2),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_CALLS)
def test_bad_calls(message: str) -> None:
    with pytest.raises(ValueError) as caught:
        BAD_CALLS[message]()
    assert message in str(caught.value)
