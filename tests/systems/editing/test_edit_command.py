# SPDX-License-Identifier: Apache-2.0
"""``ldie edit``: what it does, says and writes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.command import error_line
from ldie.cli import main
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.packages import is_installed
from ldie.systems.centernet import CenterNet
from ldie.tasks.detection.coco_classes import coco_facts
from numpy.typing import NDArray
from PIL import Image
from systems.centernet.helpers import small_config
from tasks.editing.deep_pictures import read_png, write_png

from ldie_ext import Recipe, RecipeStep

Said = pytest.CaptureFixture[str]


@pytest.fixture
def place(editor_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the run where it is looked for, and a photograph."""
    (tmp_path / "runs").symlink_to(editor_run.parent)
    monkeypatch.chdir(tmp_path)
    save("photo.png", noise(24, 36))
    return tmp_path


def noise(height: int, width: int, low: int = 40, high: int = 215) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(low, high, (height, width, 3), np.uint8)


def save(name: str, pixels: NDArray[Any], **options: Any) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(name, **options)


def shown(name: str | Path) -> NDArray[np.uint8]:
    with Image.open(name) as image:
        return np.asarray(image)


def edit(*arguments: object) -> None:
    assert main(["edit", *map(str, arguments), "--device", "cpu"]) == 0


def refused(capsys: Said, *arguments: object) -> str:
    return error_line(capsys, ["edit", *map(str, arguments), "--device", "cpu"])


def names(recipe: Recipe) -> list[str]:
    return [step.name for step in recipe.steps]


def written() -> list[str]:
    """Files below the current folder, but for the run."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file() and path.parts[0] != "runs")


def test_what_is_asked_for_is_done_and_said(place: Path, capsys: Said) -> None:
    before = Path("photo.png").read_bytes()
    edit("photo.png", "Make it brighter, and vivid!")
    assert written() == ["edited/photo.png", "edited/photo.png.json", "photo.png"]
    assert Path("photo.png").read_bytes() == before
    recipe = Recipe.load("edited/photo.png.json")
    assert names(recipe) == ["BRIGHTNESS", "SATURATION"] and recipe.size == (24, 36) and recipe.masks is None
    assert recipe.steps[0].params[0] == pytest.approx(0.3, abs=0.1)
    assert recipe.source_hash is not None
    assert np.array_equal(shown("edited/photo.png"), recipe.apply(shown("photo.png")))
    said = capsys.readouterr().out
    assert re.search(r'1\. brightness \+0\.\d+ by "[^"]+"\n +2\. saturation \+0\.\d+ by "[^"]*vivid[^"]*"', said)
    assert "written: edited/photo.png, photo.png.json" in said


def test_opposite_requests_go_opposite_ways(place: Path) -> None:
    means = {}
    for word in ("brighter", "darker"):
        edit("photo.png", word, "--out", word)
        means[word] = shown(f"{word}/photo.png").mean()
    assert means["darker"] < shown("photo.png").mean() - 20 < means["brighter"] - 40


def test_the_recipe_is_that_of_ldie_apply(place: Path) -> None:
    edit("photo.png", "make it darker and pale", "--box", "4,3,20,22", "--strength", "0.5")
    recipe = ["apply", "edited/photo.png.json", "photo.png", "--out", "again", "--strength", "0.5"]
    assert main(recipe) == 0
    assert np.array_equal(shown("again/photo.png"), shown("edited/photo.png"))


def test_steps_undo_strength_and_page(place: Path, capsys: Said) -> None:
    edit("photo.png", "vivid and darker", "--steps", "--page")
    recipe, before = Recipe.load("edited/photo.png.json"), shown("photo.png")
    steps = [f"edited/photo.png.steps/{name}.png" for name in ("1_SATURATION", "2_BRIGHTNESS")]
    assert set(written()) >= {*steps, "edited/photo.png.html"}
    for count, name in enumerate(steps, 1):
        assert np.array_equal(shown(name), recipe.apply(before, steps=count))
    page = Path("edited/photo.png.html").read_text()
    assert "photo.png: vivid and darker" in page and "SATURATION" in page and "by &quot;" in page
    edit("photo.png", "vivid and darker", "--undo", 1, "--out", "undone", "--page")
    assert np.array_equal(shown("undone/photo.png"), recipe.apply(before, steps=1))
    assert Recipe.load("undone/photo.png.json") == recipe  # the steps that are undone are not lost
    edit("photo.png", "vivid and darker", "--undo", 2, "--out", "none")
    assert np.array_equal(shown("none/photo.png"), before)
    edit("photo.png", "vivid and darker", "--strength", 0.25, "--out", "weak")
    assert np.array_equal(shown("weak/photo.png"), recipe.apply(before, strength=0.25))
    kept = written()
    assert "--undo must be at most 2" in refused(capsys, "photo.png", "vivid and darker", "--undo", 3, "--out", "x")
    assert written() == kept


def test_a_dry_run_says_what_would_be_done(place: Path, capsys: Said) -> None:
    edit("photo.png", "make it pale", "--dry-run", "--page", "--steps")
    assert written() == ["photo.png"]
    said = capsys.readouterr().out
    assert "1. saturation -0." in said and "written" not in said


def test_every_photograph_of_a_folder_has_a_decision_of_its_own(place: Path, capsys: Said) -> None:
    save("in/dark.png", noise(20, 20, 50, 70))
    save("in/light.jpg", noise(20, 30, 190, 210))
    Path("in/notes.txt").write_text("no image")
    edit("in", "fix it", "--out", "out")
    files = [f"out/{name}{end}" for name in ("dark.png", "light.jpg") for end in ("", ".json")]
    assert [name for name in written() if name.startswith("out")] == files
    dark, light = (Recipe.load(f"out/{name}.json").steps[0].params[0] for name in ("dark.png", "light.jpg"))
    assert dark > 0.1 and light < -0.1
    assert shown("out/dark.png").mean() > 65 and shown("out/light.jpg").mean() < 185
    Path("in/broken.png").write_bytes(Path("in/dark.png").read_bytes()[:60])
    capsys.readouterr()
    assert main(["edit", "in", "fix it", "--out", "other", "--device", "cpu"]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert "in/broken.png: not a readable image" in first and last == "ldie: 1 of 3 photographs are not edited"
    assert Path("other/dark.png").exists() and not Path("other/broken.png.json").exists()


def test_no_step_is_said_and_nothing_is_written(place: Path, capsys: Said) -> None:
    line = refused(capsys, "photo.png", "nothing please")
    assert "photo.png: the editor decides on no step for 'nothing please'; ask otherwise" in line
    assert written() == ["photo.png"]


@pytest.mark.parametrize(
    ("request_text", "options", "message"),
    [
        ("remove the car", [], "'remove the car' takes 'car' out of the picture: say where it is by --mask FILE or"),
        ("erase it", [], "takes 'it' out of the picture"),
        ("crop it and make it brighter", [], "cannot be done: 'crop' is no edit of colours or sharpness; ask for a br"),
        ("add a hat", [], "cannot be done: 'add hat' is no edit"),
        ("brighten the car", [], "is about 'car', not the whole picture: say where it is by --mask FILE or --box"),
        ("make the red disc darker", [], "is about 'disc', not the whole picture"),
        ("make the background pale", [], "is about 'background'"),
        ("zing", [], "no word of 'zing' is known; ask for a brighter or darker picture"),
        ("make it sepia", [], "has no word that is known and says what to edit: not known are 'sepia'"),
        ("12%!", [], "'12%!' has no words"),
        ("", [], "'' has no words"),
        ("remove the car, make it brighter", ["--box", "1,1,9,9"], "and edits as well: ask for one after the other"),
        ("brighter but don't make it vivid", [], '"don\'t" is not known: say only what is to change'),
        ("brighter", ["--box", "1,1,37,9"], "photo.png: is 36 pixels wide and 24 high; the box must lie in it"),
        ("brighter", ["--mask", "wide.png"], "--mask must have the photograph's aspect, 24 x 36, got 24 x 99"),
        ("brighter", ["--mask", "black.png"], "photo.png: the region to edit is empty"),
        ("brighter", ["--mask", "left.png", "--box", "18,0,36,9"], "the region to edit is empty"),
        ("brighter", ["--out", "."], "--out must not lead to photo.png, which is read"),
        ("brighter", ["--checkpoint", "none"], "none: no such file; give a .safetensors checkpoint or the work folder"),
        ("brighter", ["--checkpoint", "none"], "make train-editing"),
        ("brighter", ["--checkpoint", "centernet.safetensors"], "is a model of centernet, which edits no pictures"),
        ("brighter", ["--checkpoint", "photo.png"], "photo.png: not a readable checkpoint"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    place: Path, capsys: Said, request_text: str, options: list[str], message: str
) -> None:
    save("wide.png", np.zeros((24, 99), np.uint8))
    save("black.png", np.zeros((24, 36), np.uint8))
    save("left.png", np.repeat(np.uint8([[255] * 18 + [0] * 18]), 24, 0))
    if "centernet.safetensors" in options:
        config = small_config()
        model = CenterNet.from_config(config, coco_facts())
        header = checkpoint.Header("centernet", to_dict(config), dict(coco_facts()), step=0)
        checkpoint.save_weights(Path("centernet.safetensors"), model.state_dict(), header)
    before = written()
    assert message in refused(capsys, "photo.png", request_text, *options)
    assert written() == before


def test_no_run_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.chdir(tmp_path)
    save("photo.png", noise(8, 8))
    line = refused(capsys, "photo.png", "brighter")
    assert "runs/editing: no such file" in line and line.endswith("make train-editing makes one in runs/editing")
    assert written() == ["photo.png"]


def test_what_is_not_read_is_said(place: Path, capsys: Said) -> None:
    edit("photo.png", "make it 20% brighter pleeease")
    said = capsys.readouterr().out
    assert "pleeease: not known" in said and "20: not read, for numbers mean nothing here" in said
    edit("photo.png", "please make it brighter and vivid and and left right off")
    assert "left, right, off: not read, as only 8 words are" in capsys.readouterr().out
    edit("photo.png", "please make it brighter and vivid" + " and" * 400)
    assert len(capsys.readouterr().out) < 1000


def test_a_region_keeps_all_steps_to_it(place: Path, capsys: Said) -> None:
    save("mask.png", np.repeat(np.uint8([[200] * 9 + [0] * 9]), 12, 0))  # half the photograph's size
    before = shown("photo.png")
    inside = np.arange(36)[:, None] < 18
    edit("photo.png", "make the dog darker and pale", "--mask", "mask.png")
    said = capsys.readouterr().out
    assert "read as: make it darker and pale" in said and said.count("in the region") == 2
    recipe, after = Recipe.load("edited/photo.png.json"), shown("edited/photo.png")
    bare = Recipe([RecipeStep(step.name, step.params) for step in recipe.steps])
    assert names(recipe) == ["BRIGHTNESS", "SATURATION"]
    assert np.array_equal(after, np.where(inside, bare.apply(before), before))
    edit("photo.png", "make the disc darker", "--mask", "mask.png", "--box", "10,5,30,20")
    changed = (shown("edited/photo.png") != before).any(2)
    rows, columns = np.nonzero(changed)
    assert changed.any() and rows.min() >= 5 and rows.max() < 20 and columns.min() >= 10 and columns.max() < 18


@pytest.mark.skipif(not is_installed("cv2"), reason="OpenCV not installed")
def test_an_object_is_taken_away_where_it_is(place: Path, capsys: Said) -> None:
    pixels = np.full((24, 36, 3), 90, np.uint8)
    pixels[8:12, 10:16] = 250
    save("photo.png", pixels)
    edit("photo.png", "please remove the red car", "--box", "9,7,17,13")
    assert names(Recipe.load("edited/photo.png.json")) == ["INPAINT_OBJ"]
    assert "1. inpaint obj in the region" in capsys.readouterr().out
    assert np.abs(shown("edited/photo.png").astype(int) - 90).max() <= 2


def test_taking_away_without_opencv(place: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldie.tasks.editing.photographs.decision.is_installed", lambda package: False)
    line = refused(capsys, "photo.png", "remove the car", "--box", "9,7,17,13")
    assert "pip install ldie-ext[inpaint]" in line and written() == ["photo.png"]


def test_sixteen_bits_go_through(place: Path) -> None:
    pytest.importorskip("pyvips")
    deep = np.random.default_rng(0).integers(9000, 52000, (24, 36, 4), np.uint16)
    write_png(Path("deep.png"), deep)
    edit("deep.png", "brighter", "--box", "0,0,36,12")
    edited, recipe = read_png(Path("edited/deep.png")), Recipe.load("edited/deep.png.json")
    assert np.array_equal(edited[12:], deep[12:]) and np.array_equal(edited[..., 3], deep[..., 3])
    assert np.array_equal(edited[..., :3], recipe.apply(deep[..., :3]))
    assert edited[:12, :, :3].mean() > deep[:12, :, :3].mean() + 3000


def test_exif_data_and_orientation_go_through(place: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    save("turned.jpg", noise(24, 36), exif=exif, quality=95)
    edit("turned.jpg", "darker", "--box", "0,0,24,18")  # upright it is 24 wide and 36 high
    with Image.open("edited/turned.jpg") as image:
        assert image.size == (24, 36) and image.getexif()[271] == "Maker" and image.getexif()[274] == 1
        pixels = np.asarray(image).astype(int)
    assert pixels[:18].mean() < pixels[18:].mean() - 15


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (3000, 1), (2, 3)])
def test_any_shape(place: Path, size: tuple[int, int]) -> None:
    save("odd.png", noise(*size))
    edit("odd.png", "brighter", "--steps", "--page")
    recipe = Recipe.load("edited/odd.png.json")
    assert names(recipe) == ["BRIGHTNESS"]
    assert np.array_equal(shown("edited/odd.png"), recipe.apply(shown("odd.png")))
    edit("odd.png", "darker", "--box", f"{size[1] - 1},{size[0] - 1},{size[1]},{size[0]}")
    assert (shown("edited/odd.png") != shown("odd.png")).any(2).sum() == 1


def test_alpha_and_palettes_go_through(place: Path) -> None:
    pixels = np.dstack([noise(9, 12), np.arange(108, dtype=np.uint8).reshape(9, 12)])
    save("clear.png", pixels)
    edit("clear.png", "vivid")
    assert np.array_equal(shown("edited/clear.png")[..., 3], pixels[..., 3])
    Image.fromarray(noise(9, 12)).quantize(16).save("palette.png")
    edit("palette.png", "brighter")
    assert shown("edited/palette.png").shape == (9, 12, 3)


@pytest.mark.parametrize("options", [["--strength", "2"], ["--undo", "-1"], ["--box", "1,2"], ["--steps", "3", "4"]])
def test_bad_usage(options: list[str], capsys: Said) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["edit", "photo.jpg", "brighter", *options])
    assert caught.value.code == 2 and "usage: ldie" in capsys.readouterr().err


def test_predict_leads_to_edit(place: Path, capsys: Said) -> None:
    line = error_line(capsys, ["predict", "runs/editing", "photo.png", "--device", "cpu"])
    assert 'use ldie edit IMAGE "make it brighter"' in line and written() == ["photo.png"]
