# SPDX-License-Identifier: Apache-2.0
"""``ldie plan``: from two files to a recipe, a picture and edited photographs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.cli.editing import MORE_OPERATORS, PLAN_OPERATORS
from ldie.tasks.editing.pages.step_words import words
from ldie.tasks.editing.photographs import planning
from PIL import Image

from ldie_ext import Recipe, RecipeStep, rle_encode
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

EDITS = Recipe([RecipeStep("CONTRAST", (0.5,)), RecipeStep("BRIGHTNESS", (-0.275,))])
SCALARS = ["--operators", "brightness", "contrast", "saturation"]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, uint8 [H, W, 3]."""
    small = np.random.default_rng(seed).integers(20, 235, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    pixels = photograph(60, 80)
    Image.fromarray(pixels).save(before)
    Image.fromarray(EDITS.apply(pixels)).save(after)
    return before, after


def test_plan_is_written_and_said(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["plan", *map(str, files), "--out", str(out), *SCALARS]) == 0
    recipe = Recipe.load(out / "plan.json")
    assert [step.name for step in recipe.steps] == ["CONTRAST", "BRIGHTNESS"] and recipe.size == (60, 80)
    said = capsys.readouterr().out
    assert "1. contrast +0.5" in said and "2. brightness -0.2" in said and str(out / "plan.json") in said
    with Image.open(out / "plan.png") as picture:
        assert picture.width > 3 * 80 and picture.height > 60
    assert sorted(path.name for path in out.iterdir()) == ["plan.json", "plan.png"]


def test_edits_of_a_preview_at_full_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    pixels = photograph(300, 400)
    Image.fromarray(pixels).save(before)
    Image.fromarray(EDITS.apply(pixels)).save(after)
    assert main(["plan", str(before), str(after), "--out", str(tmp_path), "--size", "64", *SCALARS]) == 0
    said = capsys.readouterr().out
    assert "planned on 57 x 43 pixels" in said and "fitted to all pixels" in said
    recipe = Recipe.load(tmp_path / "plan.json")
    assert recipe.size == (300, 400)
    assert np.abs(recipe.apply(pixels).astype(int) - EDITS.apply(pixels)).max() <= 1


def test_apply_to_a_folder(files: tuple[Path, Path], tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photograph(30, 50, ord(name[0]))).save(others / name)
    out = tmp_path / "out"
    assert main(["plan", *map(str, files), "--out", str(out), "--apply-to", str(others), *SCALARS]) == 0
    recipe = Recipe.load(out / "plan.json")
    for name in ("a.png", "b.png"):
        with Image.open(out / "applied" / name) as picture:
            assert (np.asarray(picture) == recipe.apply(photograph(30, 50, ord(name[0])))).all()
        with Image.open(others / name) as picture:
            assert (np.asarray(picture) == photograph(30, 50, ord(name[0]))).all()


def test_local_edit(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = photograph(60, 80)
    region = np.zeros((60, 80), np.uint8)
    region[10:40, 20:60] = 255
    target = np.where(region[:, :, None] > 0, EDITS.apply(pixels), pixels)
    Image.fromarray(target).save(files[1])
    Image.fromarray(region).save(tmp_path / "region.png")
    command = ["plan", *map(str, files), "--out", str(tmp_path), "--mask", str(tmp_path / "region.png")]
    assert main([*command, "--operators", "contrast", "brightness", "--max-steps", "2"]) == 0
    recipe = Recipe.load(tmp_path / "plan.json")
    assert all(step.mask == 0 and not step.exclusive for step in recipe.steps) and len(recipe.steps) == 2
    assert "in mask 0" in capsys.readouterr().out
    assert (recipe.apply(pixels)[region == 0] == pixels[region == 0]).all()


def test_the_larger_is_reduced(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(EDITS.apply(photograph(60, 80))).resize((160, 120)).save(files[1])
    assert main(["plan", *map(str, files), "--out", str(tmp_path), *SCALARS]) == 0
    assert "compared at 80 pixels wide and 60 high" in capsys.readouterr().out
    recipe = Recipe.load(tmp_path / "plan.json")
    assert [step.name for step in recipe.steps][:2] == ["CONTRAST", "BRIGHTNESS"]


def test_bad_input_is_one_line_and_writes_nothing(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, broken, out = tmp_path / "other.png", tmp_path / "broken.png", tmp_path / "out"
    Image.fromarray(photograph(60, 60)).save(other)
    broken.write_bytes(files[0].read_bytes()[:200])
    before = str(files[0])
    for arguments, message in (
        ([before, str(tmp_path / "no.png")], "no.png: no such image"),
        ([before, str(broken)], "broken.png"),
        ([before, str(other)], "other.png: is 60 pixels wide and 60 high, but .*before.png 80 pixels wide"),
        ([*map(str, files), "--mask", str(other)], "other.png: .* give a mask of its aspect"),
        ([*map(str, files), "--operators", "color_bg"], "--mask must be given for color_bg"),
        ([*map(str, files), "--operators", "hue", "inpaint_obj"], "--mask must be given for inpaint_obj"),
        ([*map(str, files), "--tolerance", "0.01", "--method", "beam"], "--tolerance must be left out with .* beam"),
        ([*map(str, files), "--apply-to", str(tmp_path / "nobody")], "nobody"),
    ):
        line = error_line(capsys, ["plan", *arguments, "--out", str(out)])
        assert re.search(message, line), line
        assert not out.exists()


def test_originals_are_not_written_over(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plan" / "applied"
    folder.mkdir(parents=True)
    Image.fromarray(photograph(60, 80)).save(folder / "a.png")
    command = ["plan", *map(str, files), "--out", str(tmp_path / "plan"), "--apply-to", str(folder), *SCALARS]
    assert "must not lead to" in error_line(capsys, command)
    assert not (tmp_path / "plan" / "plan.json").exists()


@pytest.mark.parametrize("name", ["plan.png", "plan.json"])
def test_photographs_and_masks_named_like_a_plan_stay(
    name: str, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / name
    Image.fromarray(photograph(60, 80)).save(kept, "PNG")
    before = kept.read_bytes()
    for arguments in ([kept, files[1]], [files[0], kept], [*files, "--mask", kept], [*files, "--apply-to", kept]):
        line = error_line(capsys, ["plan", *map(str, arguments), "--out", str(tmp_path), *SCALARS])
        assert f"--out must not lead to {kept}" in line
        assert kept.read_bytes() == before


@pytest.mark.parametrize("arguments", [["--operators", "blurr"], ["--max-steps", "0"], ["--method", "best"], []])
def test_bad_usage(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "before.png", *(["after.png"] if arguments else []), *arguments])


def test_operators_are_those_that_there_are() -> None:
    offered = {*PLAN_OPERATORS, *MORE_OPERATORS}
    assert {name.upper() for name in offered} == {*EDIT_KINDS, "INPAINT_OBJ"}


def test_every_step_has_words() -> None:
    for name, kind in EDIT_KINDS.items():
        step = RecipeStep(name, (kind.identity or 0.5,) * kind.parameters, 1, True)
        text = words(step, curves=True)
        assert text.startswith(name.lower().replace("_", " ")) and text.endswith("outside of mask 1")
    assert words(RecipeStep("TONE_CURVE", (2.0,) * 8), curves=True) == "tone curve" + " 1.00" * 8
    assert words(RecipeStep("TONE_CURVE", (2.0,) * 8)) == "tone curve a curve"
    assert words(RecipeStep("INPAINT_OBJ", (), 0)) == "inpaint obj in mask 0"


def test_preview_keeps_what_steps_need() -> None:
    image = torch.from_numpy(photograph(300, 400).copy()).permute(2, 0, 1)
    pair = planning.PhotoPair(None, image, image, torch.zeros(2, 300, 400, dtype=torch.bool))  # type: ignore[arg-type]
    spread = planning.preview(pair, 64, ["BRIGHTNESS", "TONE_CURVE"])
    assert torch.equal(spread.image, image[:, 3::7, 3::7]) and spread.masks is not None
    assert spread.masks.shape == (2, *spread.image.shape[1:])
    window = planning.preview(pair, 64, ["BRIGHTNESS", "SHARPNESS"]).image
    assert window.shape == (3, 64, 64)
    starts = [(y, x) for y in (0, 59, 118, 177, 236) for x in (0, 84, 168, 252, 336)]
    assert any(torch.equal(window, image[:, y : y + 64, x : x + 64]) for y, x in starts)
    assert planning.preview(pair, 400, ["SHARPNESS"]) is pair


@pytest.mark.parametrize("operators", [["BRIGHTNESS", "CONTRAST"], ["BRIGHTNESS", "SHARPNESS"]])
def test_small_local_edits_are_found(operators: list[str], tmp_path: Path) -> None:
    """Of 16 x 16 pixels among 400 x 600, away from where the colours vary the most."""
    pixels = photograph(400, 600).copy()
    pixels[200:] = pixels[200:] // 4 + 90
    region = np.zeros((400, 600), np.uint8)
    region[310:326, 437:453] = 255
    steps = [RecipeStep("BRIGHTNESS", (0.3,))]
    target = np.where(region[:, :, None] > 0, Recipe(steps).apply(pixels), pixels)
    paths = [tmp_path / f"{name}.png" for name in ("before", "after", "region")]
    for path, each in zip(paths, (pixels, target, region), strict=True):
        Image.fromarray(each).save(path)
    command = ["plan", *map(str, paths[:2]), "--mask", str(paths[2]), "--out", str(tmp_path), "--size", "64"]
    assert main([*command, "--operators", *map(str.lower, operators)]) == 0
    (step,) = Recipe.load(tmp_path / "plan.json").steps
    assert (step.name, step.mask, step.exclusive) == ("BRIGHTNESS", 0, False)
    assert step.params[0] == pytest.approx(0.3, abs=0.01)


def test_preview_of_a_strip() -> None:
    image = torch.from_numpy(photograph(3, 1200).copy()).permute(2, 0, 1)
    for each in (image, image.transpose(1, 2)):
        pair = planning.PhotoPair(None, each, each)  # type: ignore[arg-type]
        spread = planning.preview(pair, 128, ["BRIGHTNESS"]).image
        assert sorted(spread.shape[1:]) == [1, 120]


def test_a_fit_that_is_no_nearer_is_left_out(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "refitted", lambda recipe, pair: Recipe([RecipeStep("BRIGHTNESS", (1.0,))]))
    assert main(["plan", *map(str, files), "--out", str(tmp_path), "--size", "40", *SCALARS]) == 0
    assert [step.name for step in Recipe.load(tmp_path / "plan.json").steps] == ["CONTRAST", "BRIGHTNESS"]
    assert "not nearer than" in capsys.readouterr().out


@pytest.fixture
def object_files(tmp_path: Path) -> list[Path]:
    """Before, after and the mask of an object that was taken out, and what is around it darkened."""
    pytest.importorskip("cv2")
    pixels = photograph(150, 200).copy()
    region = np.zeros((150, 200), np.uint8)
    region[40:70, 60:100] = 255
    pixels[40:70, 60:100] = (250, 30, 20)
    steps = [RecipeStep("INPAINT_OBJ", (), 0), RecipeStep("BRIGHTNESS", (-0.3,))]
    target = Recipe(steps, rle_encode(torch.from_numpy(region > 0)[None])).apply(pixels)
    paths = [tmp_path / f"{name}.png" for name in ("before", "after", "object")]
    for path, each in zip(paths, (pixels, target, region), strict=True):
        Image.fromarray(each).save(path)
    return paths


def object_command(paths: list[Path], out: Path) -> list[str]:
    command = ["plan", *map(str, paths[:2]), "--mask", str(paths[2]), "--out", str(out), "--size", "100"]
    return [*command, "--operators", "brightness", "inpaint_obj", "color_bg", "--max-steps", "2"]


def test_an_object_that_was_taken_out(object_files: list[Path], tmp_path: Path) -> None:
    assert main(object_command(object_files, tmp_path)) == 0
    first, second = Recipe.load(tmp_path / "plan.json").steps
    assert (first.name, first.mask, second.name) == ("INPAINT_OBJ", 0, "BRIGHTNESS")
    assert second.params[0] == pytest.approx(-0.3, abs=0.005)


def test_without_opencv_one_line_says_so(
    object_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    line = error_line(capsys, object_command(object_files, tmp_path / "out"))
    assert "pip install ldie-ext[inpaint]" in line and not (tmp_path / "out").exists()
