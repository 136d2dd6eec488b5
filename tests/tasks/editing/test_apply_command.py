# SPDX-License-Identifier: Apache-2.0
"""``ldie apply`` and ``ldie recipe``: what they write, what they leave alone, what they refuse."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from editing.cube_file import read_cube
from engine.command import error_line
from ldie.cli import main
from ldie.tasks.editing.photographs.photos import read_photo
from numpy.typing import NDArray
from PIL import Image
from tasks.editing.deep_pictures import read_png, write_png, write_tiff

import ldie_ext
from ldie_ext import Recipe, RecipeStep
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS
from ldie_ext.ops.editing.executor_operators import EXECUTOR_OPERATORS

ROOT = Path(__file__).parents[3]
STEPS = [RecipeStep("EXPOSURE", (0.5,)), RecipeStep("BLACK_WHITE", (0.5,)), RecipeStep("COLORIZE", (0.2,))]


@pytest.fixture
def look(tmp_path: Path) -> Path:
    Recipe(STEPS).save(tmp_path / "look.json")
    return tmp_path / "look.json"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def shown(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_apply_is_the_recipe(look: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = photo.read_bytes()
    run("apply", look, photo, "--out", tmp_path / "out")
    assert files(tmp_path / "out") == ["photo.png"] and photo.read_bytes() == before
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), Recipe(STEPS).apply(shown(photo)))
    line = capsys.readouterr().out
    assert re.search(r"photo.png: edit \d+\.\d\d s, read/write \d+\.\d\d s, written: .*out/photo.png", line)


def test_apply_to_a_folder(look: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for k in range(3):
        Image.new("RGB", (8, 8), (40 * k, 50, 60)).save(tmp_path / "in" / f"{k}.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    run("apply", look, tmp_path / "in", "--out", tmp_path / "out")
    assert files(tmp_path / "out") == ["0.png", "1.png", "2.png"]
    (tmp_path / "in" / "1.png").write_bytes((tmp_path / "in" / "1.png").read_bytes()[:50])
    capsys.readouterr()
    assert main(["apply", str(look), str(tmp_path / "in"), "--out", str(tmp_path / "other")]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert "1.png: not a readable image" in first and last == "ldie: 1 of 3 photographs are not edited"
    assert files(tmp_path / "other") == ["0.png", "2.png"]


def test_what_cannot_be_written_does_not_end_the_others(
    look: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, inside = tmp_path / "out", tmp_path / "in"
    (out / "0.png" / "full").mkdir(parents=True)
    (out / "1.png.steps").write_text("a file")
    inside.mkdir()
    for k in range(5):
        (inside / f"{k}.png").write_bytes(photo.read_bytes())
    whole = Recipe.apply

    def failing(recipe: Recipe, image: NDArray[np.uint8], **options: Any) -> NDArray[np.uint8]:
        if options["steps"] == 3 and failures and failures.pop() is not None:
            raise RuntimeError("apply_edits: not enough memory")
        return whole(recipe, image, **options)

    failures: list[int | None] = [None, 2, None, None]  # from the last one on
    monkeypatch.setattr(Recipe, "apply", failing)
    assert main(["apply", str(look), str(inside), "--out", str(out), "--steps"]) == 1
    first, second, third, last = capsys.readouterr().err.splitlines()
    assert "0.png: cannot be written (Is a directory)" in first
    assert "1.png.steps: cannot be used as a folder (File exists)" in second
    assert "2.png: apply_edits: not enough memory" in third
    assert last == "ldie: 3 of 5 photographs are not edited"
    assert {path.name for path in out.iterdir() if path.is_file()} == {"1.png.steps", "3.png", "4.png"}


def test_names_that_are_no_text(look: Path, photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    folder = tmp_path / "in"
    folder.mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (24, 36, 3), np.uint16)
    write_png(folder / os.fsdecode(b"deep\xff.png"), deep)
    write_tiff(folder / os.fsdecode(b"deep\xff.tif"), deep)
    (folder / os.fsdecode(b"\xff\xe9[1].png")).write_bytes(photo.read_bytes())
    run("apply", look, folder, "--out", tmp_path / "out", "--page", "--steps")
    edited = Recipe(STEPS).apply(deep)
    assert np.array_equal(read_png(tmp_path / "out" / os.fsdecode(b"deep\xff.png")), edited)
    assert np.array_equal(read_photo(tmp_path / "out" / os.fsdecode(b"deep\xff.tif")).pixels, edited)
    page = (tmp_path / "out" / os.fsdecode(b"\xff\xe9[1].png.html")).read_text(encoding="utf-8")
    assert r"<h1>\udcff\udce9[1].png</h1>" in page


def test_a_mask_of_sixteen_bits(look: Path, photo: Path, tmp_path: Path) -> None:
    values = np.full((24, 36), 20000, np.uint16)
    values[:, 18:] = 50000
    write_png(tmp_path / "mask.png", values[:, :, None])
    run("apply", look, photo, "--out", tmp_path / "out", "--mask", tmp_path / "mask.png")
    edited, inside = Recipe(STEPS).apply(shown(photo)), np.arange(36)[:, None] >= 18
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), np.where(inside, edited, shown(photo)))


def test_many_steps_stand_in_order(photo: Path, tmp_path: Path) -> None:
    Recipe(4 * STEPS).save(tmp_path / "long.json")
    run("apply", tmp_path / "long.json", photo, "--out", tmp_path / "out", "--steps")
    names = [path.stem for path in sorted((tmp_path / "out" / "photo.png.steps").iterdir())]
    assert names == [f"{k:02}_{step.name}" for k, step in enumerate(4 * STEPS, 1)]


def test_every_step_and_undo(look: Path, photo: Path, tmp_path: Path) -> None:
    run("apply", look, photo, "--out", tmp_path / "out", "--steps", "--undo", "1")
    names = ["photo.png.steps/1_EXPOSURE.png", "photo.png.steps/2_BLACK_WHITE.png"]
    assert files(tmp_path / "out") == ["photo.png", *names]
    for k, name in enumerate(names, 1):
        assert np.array_equal(shown(tmp_path / "out" / name), Recipe(STEPS[:k]).apply(shown(photo)))
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), shown(tmp_path / "out" / names[1]))
    run("apply", look, photo, "--out", tmp_path / "none", "--steps", "--undo", "3")
    assert files(tmp_path / "none") == ["photo.png"]
    assert np.array_equal(shown(tmp_path / "none" / "photo.png"), shown(photo))
    run("apply", look, photo, "--out", tmp_path / "none", "--undo", "3", "--box", "0,0,5,5", "--page")
    assert np.array_equal(shown(tmp_path / "none" / "photo.png"), shown(photo))


def test_strength(look: Path, photo: Path, tmp_path: Path) -> None:
    run("apply", look, photo, "--out", tmp_path / "out", "--strength", "0.3")
    expected = Recipe(STEPS).apply(shown(photo), strength=0.3)
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), expected)
    assert not np.array_equal(expected, Recipe(STEPS).apply(shown(photo)))


def test_mask_and_box_keep_the_rest(look: Path, photo: Path, tmp_path: Path) -> None:
    mask = np.zeros((12, 18), np.uint8)
    mask[:, :9], mask[:, 9:] = 128, 127
    Image.fromarray(mask).save(tmp_path / "mask.png")
    before, edited = shown(photo), Recipe(STEPS).apply(shown(photo))
    inside = np.zeros((24, 36, 1), bool)
    inside[:, :18] = True
    run("apply", look, photo, "--out", tmp_path / "out", "--mask", tmp_path / "mask.png")
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), np.where(inside, edited, before))
    boxed = np.zeros_like(inside)
    boxed[4:24, 10:36] = True
    run("apply", look, photo, "--out", tmp_path / "out", "--box", "10,4,36,24")
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), np.where(boxed, edited, before))
    run("apply", look, photo, "--out", tmp_path / "out", "--box", "10,4,36,24", "--mask", tmp_path / "mask.png")
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), np.where(boxed & inside, edited, before))


def test_a_recipe_of_a_preview(photo: Path, tmp_path: Path) -> None:
    half = torch.zeros(1, 12, 18, dtype=torch.bool)
    half[..., :9] = True
    recipe = Recipe([RecipeStep("EXPOSURE", (1.0,), 0)], ldie_ext.rle_encode(half))
    recipe.save(tmp_path / "look.json")
    run("apply", tmp_path / "look.json", photo, "--out", tmp_path / "out")
    edited = Recipe([RecipeStep("EXPOSURE", (1.0,))]).apply(shown(photo))
    inside = np.arange(36)[:, None] < 18
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), np.where(inside, edited, shown(photo)))


def test_sixteen_bits(look: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    deep = np.random.default_rng(0).integers(0, 65536, (24, 36, 4), np.uint16)
    write_png(tmp_path / "deep.png", deep)
    run("apply", look, tmp_path / "deep.png", "--out", tmp_path / "out", "--box", "0,0,36,12", "--page")
    edited = read_png(tmp_path / "out" / "deep.png")
    assert np.array_equal(edited[12:], deep[12:]) and np.array_equal(edited[..., 3], deep[..., 3])
    assert np.array_equal(edited[:12, :, :3], Recipe(STEPS).apply(deep[..., :3])[:12])


def test_page_is_one_file_with_the_steps(look: Path, photo: Path, tmp_path: Path) -> None:
    run("apply", look, photo, "--out", tmp_path / "out", "--page")
    page = (tmp_path / "out" / "photo.png.html").read_text()
    assert files(tmp_path / "out") == ["photo.png", "photo.png.html"]
    assert page.count("data:image/jpeg;base64,") == 4 and "http" not in page and "<script src" not in page
    for step in STEPS:
        assert step.name in page
    named = tmp_path / "<b>&.png"
    named.write_bytes(photo.read_bytes())
    run("apply", look, named, "--out", tmp_path / "out", "--page")
    assert "<h1>&lt;b&gt;&amp;.png</h1>" in (tmp_path / "out" / "<b>&.png.html").read_text()


def test_cube_and_show(look: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("recipe", "export", look, tmp_path / "look.cube", "--size", "33")
    assert (tmp_path / "look.cube").read_text() == Recipe(STEPS).to_cube(33)
    run("recipe", "export", look, tmp_path / "half.cube", "--strength", "0.5")
    assert len(read_cube((tmp_path / "half.cube").read_text()).table) == 3 * 33**3
    capsys.readouterr()
    run("recipe", "show", look)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipe of version 1, 3 steps, 0 masks, made for an image of any size"
    assert [line.split()[:2] for line in lines[1:]] == [[str(k), step.name] for k, step in enumerate(STEPS, 1)]


def test_gallery(photo: Path, tmp_path: Path) -> None:
    run("recipe", "gallery", photo, "--out", tmp_path / "gallery")
    assert shown(tmp_path / "gallery" / "gallery.png").shape[2] == 3
    recipes = sorted((tmp_path / "gallery" / "recipes").iterdir())
    page = (tmp_path / "gallery" / "gallery.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1 + 3 * len(recipes) and "http" not in page
    without_strengths = {"FLIP", "FLIP_OBJ", "ROTATE_OBJ", "INPAINT_OBJ"}
    known = {op.name for op in EDIT_OPERATORS} | EXECUTOR_OPERATORS.keys()
    assert {path.stem.upper() for path in recipes} == known - without_strengths
    for path in recipes:
        assert Recipe.load(path).steps[0].name == path.stem.upper()


@pytest.mark.parametrize("name", ["gallery.png", "recipes/blur.json"])
def test_gallery_is_not_written_over_its_photo(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / name
    photo.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 6), "teal").save(photo, "PNG")
    before = photo.read_bytes()
    line = error_line(capsys, ["recipe", "gallery", str(photo), "--out", str(tmp_path)])
    assert f"--out must not lead to {photo}" in line and photo.read_bytes() == before


def test_nothing_is_written_over(look: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = photo.read_bytes()
    for out in (tmp_path, tmp_path / "." / "x" / ".."):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert "--out must not lead to" in error_line(capsys, ["apply", look, photo, "--out", out])
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "photo.png").hardlink_to(photo)
    assert "which is read" in error_line(capsys, ["apply", look, photo, "--out", tmp_path / "linked"])
    (tmp_path / "mask" / "a").mkdir(parents=True)
    Image.new("L", (36, 24)).save(tmp_path / "mask" / "photo.png")
    mask = tmp_path / "mask" / "photo.png"
    assert "which is read" in error_line(capsys, ["apply", look, photo, "--mask", mask, "--out", tmp_path / "mask"])
    assert "OUT must be another file" in error_line(capsys, ["recipe", "export", look, look])
    assert photo.read_bytes() == before
    run("apply", look, photo, "--out", tmp_path / "out")
    run("apply", look, photo, "--out", tmp_path / "out", "--undo", "3")  # one's own results are written anew
    assert np.array_equal(shown(tmp_path / "out" / "photo.png"), shown(photo))


def test_bad_input_is_one_line_and_writes_nothing(
    look: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer, stencil, wide = tmp_path / "newer.json", tmp_path / "stencil.json", tmp_path / "wide.png"
    newer.write_text(json.dumps(json.loads(look.read_text()) | {"version": 9}))
    Recipe([RecipeStep("SHARPNESS", (0.5,))]).save(stencil)
    Image.new("L", (99, 24)).save(wide)
    cmyk = tmp_path / "cmyk.jpg"
    Image.new("CMYK", (8, 8)).save(cmyk)
    masked = tmp_path / "masked.json"
    Recipe([RecipeStep("HUE", (0.1,), 0)], ldie_ext.rle_encode(torch.ones(1, 9, 99, dtype=torch.bool))).save(masked)
    (tmp_path / "empty").mkdir()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before, out = files(tmp_path), ["--out", tmp_path / "out"]
    cases = {
        "none.json: no such recipe": ["apply", tmp_path / "none.json", photo, *out],
        "photo.png: not a recipe (no text)": ["apply", photo, photo, *out],
        "version must be at most 1, which this ldie_ext reads, got 9": ["apply", newer, photo, *out],
        "cmyk.jpg: has CMYK colours": ["apply", look, cmyk, *out],
        "none.png: no such image": ["apply", look, tmp_path / "none.png", *out],
        "no images in this folder": ["apply", look, tmp_path / "empty", *out],
        "--undo must be at most 3, the recipe's steps, got 4": ["apply", look, photo, "--undo", "4", *out],
        "--mask must have the photograph's aspect, 24 x 36, got 24 x 99": ["apply", look, photo, "--mask", wide, *out],
        "aspect, 24 x 36, got 24 x 99": ["apply", look, photo, "--mask", wide, *out, "--undo", "3", "--steps"],
        "the aspect of the recipe's masks, 9 x 99, got 24 x 36": ["apply", masked, photo, *out],
        "is 36 pixels wide and 24 high; the box must lie in it": ["apply", look, photo, "--box", "0,0,37,24", *out],
        "high; the box must lie in it": ["apply", look, photo, "--box", "0,0,9,99", *out, "--undo", "3", "--page"],
        "pipe: not a readable image (no regular file)": ["apply", look, photo, "--mask", pipe, *out],
        "pipe: not a recipe (no regular file)": ["apply", pipe, photo, *out],
        ".: cannot be written (Is a directory)": ["recipe", "export", look, "."],
        "steps[0] (SHARPNESS) does not edit each pixel": ["recipe", "export", stencil, tmp_path / "look.cube"],
        "steps[0] (HUE) has a mask": ["recipe", "export", masked, tmp_path / "look.cube"],
        "none.jpg: no such image": ["recipe", "gallery", tmp_path / "none.jpg", *out],
        "is a folder": ["recipe", "show", tmp_path],
    }
    for message, arguments in cases.items():
        assert message in error_line(capsys, arguments) or message == "is a folder"
        assert files(tmp_path) == before, message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--strength", "1.1"],
        ["--strength", "nan"],
        ["--undo", "-1"],
        ["--box", "1,2,3"],
        ["--box", "3,0,1,5"],
        ["--box", "0,0,0,0"],
        ["--box", "a,b,c,d"],
        ["--box", "0,0,1," + "9" * 5000],
    ],
)
def test_bad_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["apply", "look.json", "photo.jpg", "--out", "out", *options])
    assert caught.value.code == 2
    assert "usage: ldie apply" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["apply"], ["recipe"], ["recipe", "export"], ["recipe", "show"], ["recipe", "gallery"]]
)
def test_help(command: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0


def test_the_documents_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "edits.md").read_text()
    (commands,) = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    (recipe,) = re.findall(r"^```json\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("masked.json").write_text(recipe)
    assert len(Recipe.load("masked.json").steps) == 2
    Recipe(STEPS).save("look.json")
    Path("holidays").mkdir()
    for name, size in (("photo.jpg", (960, 640)), ("holidays/a.jpg", (48, 32)), ("holidays/b.jpg", (48, 32))):
        Image.new("RGB", size, (90, 120, 40)).save(name)
    Image.new("L", (480, 320), 255).save("sky.png")
    lines = [shlex.split(line, comments=True) for line in commands.splitlines()]
    assert len(lines) >= 10
    for program, *arguments in lines:
        assert program == "ldie" and main(arguments) == 0, arguments


def test_a_results_photo_can_be_edited_again(look: Path, photo: Path, tmp_path: Path) -> None:
    run("apply", look, photo, "--out", tmp_path / "one")
    run("apply", look, tmp_path / "one" / "photo.png", "--out", tmp_path / "two")
    once = Recipe(STEPS).apply(shown(photo))
    assert np.array_equal(read_photo(tmp_path / "two" / "photo.png").pixels, Recipe(STEPS).apply(once))
