# SPDX-License-Identifier: Apache-2.0
"""Recipes as files: all that they say, written whole or not at all, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from documents import run_clean
from editing.recipes import LOOK, masked_recipe
from op_checks import PEAK

from ldie_ext import Recipe, RecipeStep
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    image = torch.rand(3, 6, 8)
    recipe = masked_recipe()
    whole = Recipe(recipe.steps, recipe.masks, source_hash=Recipe.hash_of(image))
    whole.save(tmp_path / "look.json")
    document = json.loads((tmp_path / "look.json").read_text())
    assert document["version"] == 1 and document["size"] == [6, 8]
    assert document["steps"][1] == {"name": "EXPOSURE", "params": [-1.0], "mask": 0, "exclusive": True}
    assert document["masks"] == [{"size": [6, 8], "counts": "0h0h0"}]
    loaded = Recipe.load(tmp_path / "look.json")
    assert (loaded.steps, loaded.size, loaded.source_hash) == (whole.steps, (6, 8), whole.source_hash)
    assert loaded == whole and hash(loaded) == hash(whole) and loaded != recipe
    assert [path.name for path in tmp_path.iterdir()] == ["look.json"]


GOOD: dict[str, Any] = {
    "format": "ldie recipe",
    "version": 1,
    "size": [6, 8],
    "source_hash": None,
    "masks": [{"size": [6, 8], "counts": "0h0h0"}],
    "steps": [{"name": "EXPOSURE", "params": [0.5], "mask": 0, "exclusive": True}],
}


def changed(**fields: Any) -> str:
    return json.dumps(GOOD | fields)


def step(**fields: Any) -> str:
    return changed(steps=[GOOD["steps"][0] | fields])


BAD = {
    "": "no JSON",
    "[]": "not a recipe",
    "[" * 100_000: "nested too deeply",
    "{}": '"format": "ldie recipe"',
    '{"format": "ldie recipe", "version": NaN}': "NaN is no number",
    '{"format": "ldie recipe", "version": 1, "version": 1}': "a key stands twice",
    changed(format="other"): '"format": "ldie recipe"',
    changed(version=2): "version must be at most 1, which this ldie_ext reads, got 2; update it",
    changed(version=0): "version must be 1 or more, got 0",
    changed(version="1"): "version must be a whole number, got '1'",
    changed(version=True): "version must be a whole number, got True",
    changed(other=1): "unknown key 'other'; known: format, version, size",
    changed(steps={}): "steps must be a list, got dict",
    changed(steps=None): "steps must be a list, got None",
    changed(steps=[3]): r"steps[0] must be an object, got 3",
    changed(masks=[3]): r"masks[0] must be an object, got 3",
    changed(masks=[{"size": [6, 8], "counts": "0h0h0", "more": 1}]): "masks[0]: unknown key 'more'",
    changed(masks=[{"size": [6, 8], "counts": "0h0i0"}]): "masks must be COCO's RLE objects",
    changed(masks=[{"size": [6], "counts": "0h0h0"}]): "masks must be COCO's RLE objects",
    changed(masks=[{"size": [5, 8], "counts": [40]}]): "masks must be of size [6, 8], as the recipe, got [5, 8]",
    changed(masks=[{"size": [20000, 30000], "counts": [600000000]}], size=None): "masks must have at most 178956970",
    changed(masks=[{"size": [0, 0], "counts": []}], size=None): "size must be height and width",
    changed(masks=[]): "steps[0] (EXPOSURE): mask must be the number of one of 0 masks, got 0",
    changed(size=[6]): "size must be height and width",
    changed(size=[6, 8.0]): "size must be height and width",
    changed(size=[-6, -8]): "size must be height and width",
    changed(size=[1 << 20, 1 << 20], masks=[], steps=[]): "of less than 2^31 pixels",
    changed(source_hash=3): "source_hash must be a text, got 3",
    step(name="SHINE"): "steps[0]: unknown operator 'SHINE'; known: BRIGHTNESS, CONTRAST",
    step(name="NONE"): "steps[0]: unknown operator 'NONE'",
    step(name="brightness"): "steps[0]: unknown operator 'brightness'",
    step(name=3): "steps[0]: name must be that of an operator, got 3",
    step(params=0.5): "steps[0]: params must be a list, got 0.5",
    step(params=["0.5"]): "steps[0]: params must be numbers",
    step(params=[True]): "steps[0]: params must be numbers",
    step(params=[None]): "steps[0]: params must be numbers",
    step(params=[]): "steps[0] (EXPOSURE): params must be 1 numbers, got 0",
    step(params=[0.5, 0.5]): "steps[0] (EXPOSURE): params must be 1 numbers, got 2",
    step(params=[3.6]): "steps[0] (EXPOSURE): params[0] must be from -3.5 to 3.5, got 3.6",
    step(params=[1e400]): "is no number",
    changed().replace("0.5", "5" * 5000): "not a recipe (a number of 5000 digits)",
    step(params=[10**400]): "steps[0]: params must be numbers",
    step(name="TONE_CURVE", params=[0.0] * 8): "params[0] to [7], a curve's, must sum to more than 1e-6",
    step(name="COLOR_CURVE", params=[1.0] * 16 + [-1.0] * 8): "params[16] to [23], a curve's, must sum to more",
    step(name="TONE_CURVE", params=[100, -99.999997, *[0] * 6]): "params[0] to [7], a curve's, must sum to more",
    step(name="TONE_CURVE", params=[100, 2e-6, -100, *[0] * 5]): "params[0] to [7], a curve's, must sum to more",
    step(mask=1): "steps[0] (EXPOSURE): mask must be the number of one of 1 masks, got 1",
    step(mask=-1): "steps[0]: mask must be the number of a mask or None, got -1",
    step(mask=0.0): "steps[0]: mask must be the number of a mask or None, got 0.0",
    step(mask=None): "steps[0] (EXPOSURE): exclusive must be false without a mask",
    step(exclusive=1): "steps[0]: exclusive must be a bool, got 1",
    step(more=1): "steps[0]: unknown key 'more'; known: name, params, mask, exclusive",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_bad_files_are_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError) as caught:
        Recipe.load(tmp_path / "bad.json")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'bad.json'}: ") and BAD[text] in message, message
    assert "\n" not in message and len(message) < 600


def test_the_good_file_is_good(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(changed())
    assert Recipe.load(tmp_path / "good.json").steps == (RecipeStep("EXPOSURE", (0.5,), 0, True),)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"bytes.json: not a recipe \(no text\)"):
        Recipe.load(tmp_path / "bytes.json")


def test_a_mark_before_the_text_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "marked.json").write_text(changed(), encoding="utf-8-sig")
    assert len(Recipe.load(tmp_path / "marked.json").steps) == 1


def test_masks_are_decoded_where_they_are_used_one_at_a_time(tmp_path: Path) -> None:
    side, runs = 12_000, 12_000 * 12_000
    masks = [{"size": [side, side], "counts": [k, runs - k]} for k in range(100)]
    steps = [{"name": "EXPOSURE", "params": [0.5], "mask": mask} for mask in (99, 3, 50, 99)]
    (tmp_path / "large.json").write_text(changed(size=None, masks=masks, steps=steps))
    code = f"""{PEAK}
import numpy as np
from ldie_ext import Recipe
Recipe([]).apply(np.zeros((30, 30, 3), np.uint8))
before = peak()
Recipe.load("large.json").apply(np.zeros((30, 30, 3), np.uint8))
print((peak() - before) * 1024)
"""
    assert int(run_clean(code, tmp_path)) <= 1.2 * runs


def test_a_recipe_takes_the_place_of_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (".", "/", tmp_path):
        with pytest.raises(IsADirectoryError):
            Recipe(LOOK).save(path)
    assert not list(tmp_path.iterdir())


def test_a_limit_in_float32_is_one() -> None:
    """0.8 becomes 0.800000012 in a tensor of params."""
    for name, kind in EDIT_KINDS.items():
        for limit in (kind.low, kind.high):
            if limit > 0 or not kind.curve:
                Recipe([RecipeStep(name, tuple(torch.full((kind.parameters,), limit).tolist()))])


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "look.json"
    Recipe(LOOK).save(path)
    before = path.read_text()
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(OSError, match="No space left"):
        Recipe([]).save(path)
    assert path.read_text() == before and [each.name for each in tmp_path.iterdir()] == ["look.json"]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")
