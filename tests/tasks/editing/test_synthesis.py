# SPDX-License-Identifier: Apache-2.0
"""``ldie synth edits``: every record gives again what was stored, over generated pictures and a COCO folder."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.shapes import build_shapes
from ldie.tasks.editing.synedit.coco_scenes import coco_scenes
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import Scene, SceneObject
from ldie.tasks.editing.synedit.sessions import write_session
from ldie.tasks.editing.synedit.synedit_scene import synedit_scene
from ldie.tasks.editing.synedit.synthesis import KINDS, usable_objects
from PIL import Image
from torch import Tensor

from ldie_ext import Recipe, RecipeExecutor, RecipeStep, StepExecutor, StepKind


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shapes(tmp_path_factory.mktemp("data") / "shapes", train=12, val=1, size=96)


def synth(out: Path, data: str | Path, session: int, *options: str) -> list[dict[str, Any]]:
    arguments = ["synth", "edits", "--data", str(data), "--session", str(session), "--out", str(out), *options]
    assert main(arguments) == 0
    return json.loads((out / "records.json").read_text())["records"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def check(out: Path, records: list[dict[str, Any]], executor: StepExecutor | None = None) -> None:
    """Each record leads from its input to its output, exactly, and its reverse nearly back."""
    for record in records:
        source, target = pixels(out / record["input"]), pixels(out / record["output"])
        recipe = Recipe.load(out / record["recipe"], executor)
        assert np.array_equal(recipe.apply(source), target)
        assert recipe.source_hash and recipe.size == source.shape[:2]
        assert (recipe.masks is None) == (not record["objects"])
        if record["kind"] == "invertible":
            reverse = record["reverse"]
            back = Recipe.load(out / reverse["recipe"]).apply(target)
            off = float(np.sqrt(np.square(back.astype(float) - source).mean()))
            assert abs(off - reverse["distance_after"]) < 0.35, "rounding to bytes adds its 0.29 at most"
            assert reverse["distance_after"] < reverse["distance_before"]


def test_session_1_of_generated_pictures(tmp_path: Path) -> None:
    records = synth(tmp_path / "out", "synedit", 1, "--count", "12", "--size", "48", "--seed", "3")
    assert [record["kind"] for record in records] == ["invertible"] * 12
    check(tmp_path / "out", records)
    assert pixels(tmp_path / "out" / records[0]["input"]).shape == (48, 48, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images",
        "recipes",
        "records.json",
        "sheet.png",
    ]


def test_session_1_of_a_folder(tmp_path: Path, shapes: Path) -> None:
    records = synth(tmp_path / "out", shapes, 1, "--count", "5")
    assert len(records) == 5
    check(tmp_path / "out", records)
    assert np.array_equal(pixels(tmp_path / "out" / records[0]["input"]), pixels(shapes / "train2017" / "000001.png"))


class MeanFiller:
    """Fills an object with the mean colour of the rest of the picture."""

    kinds: ClassVar[dict[str, StepKind]] = {"INPAINT_OBJ": StepKind(0, 0, 0, None, halo=None)}

    def run(self, images: Tensor, step: RecipeStep, mask: Tensor | None, strength: float) -> Tensor:
        assert step.name == "INPAINT_OBJ" and step.params == () and mask is not None
        colour = images[:, :, ~mask].mean(-1)[..., None, None]
        return torch.where(mask, images + strength * (colour - images), images)


def test_session_0_has_one_edit_of_each_kind(tmp_path: Path, shapes: Path) -> None:
    generated = [("synedit", synedit_scene(Draws(1, number), 64)) for number in range(12)]
    found = [item for item in coco_scenes(CocoDataset(shapes, "train2017"), 64) if usable_objects(item[1])]
    for name, scenes in (("generated", generated), ("coco", found)):
        out = tmp_path / name
        assert write_session(scenes, 0, out, 3, MeanFiller()) == 4 * len(scenes)
        records = json.loads((out / "records.json").read_text())["records"]
        assert [record["kind"] for record in records] == [*KINDS] * len(scenes)
        check(out, records, MeanFiller())
        lengths = set()
        for record in records:
            steps = Recipe.load(out / record["recipe"], MeanFiller()).steps
            masked = [step for step in steps if step.mask is not None]
            if record["kind"] == "compound":
                lengths.add(len(steps))
                assert len(masked) <= 1
            else:
                assert len(steps) == 1 and len(masked) == (record["kind"] != "invertible")
            if record["kind"] == "local_inpainting":
                assert steps[0].name == "INPAINT_OBJ"
            if record["kind"] in ("local_color", "local_inpainting"):
                check_place(out, record)
        assert {
            len(Recipe.load(out / r["recipe"], MeanFiller()).steps) for r in records if r["kind"] == "compound"
        } == {2, 3}


def test_session_0_by_the_command(tmp_path: Path, shapes: Path) -> None:
    pytest.importorskip("cv2")
    records = synth(tmp_path / "out", shapes, 0, "--count", "2")
    assert [record["kind"] for record in records] == [*KINDS] * 2
    check(tmp_path / "out", records, RecipeExecutor())
    check_place(tmp_path / "out", records[2])


def test_without_an_inpainter_session_0_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("ldie.commands.synth"), "is_installed", lambda package: package != "cv2")
    command = ["synth", "edits", "--data", "synedit", "--session", "0", "--out", tmp_path / "out"]
    assert "pip install ldie-ext[inpaint], or take --session 1" in error_line(capsys, command)
    assert not list(tmp_path.iterdir())


def check_place(out: Path, record: dict[str, Any]) -> None:
    """The edit is seen in its object, and nothing of it elsewhere."""
    changed = (pixels(out / record["input"]) != pixels(out / record["output"])).any(-1)
    (item,) = record["objects"]
    x1, y1, x2, y2 = item["box"]
    assert changed[y1:y2, x1:x2].any()
    changed[y1:y2, x1:x2] = False
    assert not changed.any()


def test_grey_objects_get_an_edit_that_is_seen(tmp_path: Path) -> None:
    image = torch.full((40, 40, 3), 120, dtype=torch.uint8)
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[:, 10:20, 5:25] = True
    scenes = [("grey", Scene(image, mask, (SceneObject("box", (5, 10, 25, 20), "left"),)))] * 8
    write_session(scenes, 0, tmp_path / "out", 0, MeanFiller())
    for record in json.loads((tmp_path / "out" / "records.json").read_text())["records"]:
        if record["kind"] == "local_color":
            check_place(tmp_path / "out", record)


def test_too_small_and_too_large_objects_are_not_edited() -> None:
    masks = torch.zeros(4, 50, 50, dtype=torch.bool)
    for number, side in enumerate((3, 4, 35, 36)):
        masks[number, :side, :side] = True
    scene = Scene(torch.zeros(50, 50, 3, dtype=torch.uint8), masks, (SceneObject("box", (0, 0, 1, 1), "centre"),) * 4)
    assert usable_objects(scene) == [1, 2]


def test_crowds_are_no_objects(tmp_path: Path) -> None:
    data = build_shapes(tmp_path / "shapes", hard=True, train=40, val=1, size=96)
    dataset = CocoDataset(data, "train2017")
    for index, (name, scene) in enumerate(coco_scenes(dataset)):
        sample = dataset[index]
        assert name == f"{index + 1:06d}" and torch.equal(scene.image, sample.image.permute(1, 2, 0))
        assert len(scene.objects) == int((~sample.iscrowd).sum())
        for item, box in zip(scene.objects, sample.boxes[~sample.iscrowd].tolist(), strict=True):
            assert item.box == pytest.approx(box, abs=1), "a polygon's pixels may end beside its box"
    assert any(bool(dataset[index].iscrowd.any()) for index in range(40))


def test_the_same_seed_makes_the_same_and_fewer_are_the_first(tmp_path: Path) -> None:
    first = synth(tmp_path / "a", "synedit", 1, "--count", "4", "--size", "32")
    again = synth(tmp_path / "b", "synedit", 1, "--count", "3", "--size", "32")
    assert again == first[:3]
    for record in again:
        for name in (record["input"], record["output"], record["recipe"], record["reverse"]["recipe"]):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = synth(tmp_path / "c", "synedit", 1, "--count", "3", "--size", "32", "--seed", "1")
    assert all(a != b for a, b in zip(again, other, strict=True))


def test_session_0_needs_masks_and_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("ldie.commands.synth"), "is_installed", lambda package: True)
    data = build_shapes(tmp_path / "shapes", train=3, val=1, size=64)
    file = data / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    command = ["synth", "edits", "--session", "0", "--out", tmp_path / "out", "--data", data]
    file.write_text(json.dumps({**content, "annotations": []}))
    assert "no picture has an object that covers 0.4% to 50% of it" in error_line(capsys, command)
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    file.write_text(json.dumps(content))
    assert "has objects without masks, which session 0 edits; use --session 1" in error_line(capsys, command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes"]


def test_larger_pictures_are_shrunk(tmp_path: Path, shapes: Path) -> None:
    records = synth(tmp_path / "out", shapes, 1, "--count", "2", "--size", "40")
    check(tmp_path / "out", records)
    assert pixels(tmp_path / "out" / records[0]["input"]).shape == (40, 40, 3)


def test_bad_input_is_one_line(tmp_path: Path, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["synth", "edits", "--session", "1", "--out", out, "--data"]
    assert "no such folder; give synedit or a folder in COCO" in error_line(capsys, [*command, tmp_path / "no"])
    (tmp_path / "empty").mkdir()
    assert "no such annotation file" in error_line(capsys, [*command, tmp_path / "empty"])
    assert "name a split that is there" in error_line(capsys, [*command, shapes, "--split", "test"])
    assert "size must be 32 to 1024, got 2000" in error_line(capsys, [*command, "synedit", "--size", "2000"])
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("")
    assert "exists already" in error_line(capsys, [*command, "synedit"])
    assert [path.name for path in out.iterdir()] == ["mine"]


@pytest.mark.parametrize("options", [["--size", "31"], ["--session", "2"], ["--count", "0"], ["--seed", "-1"]])
def test_bad_usage(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["synth", "edits", "--data", "synedit", "--session", "1", "--out", str(tmp_path / "out"), *options])
    assert stopped.value.code == 2 and not list(tmp_path.iterdir())


def test_a_broken_image_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = build_shapes(tmp_path / "shapes", train=3, val=1, size=64)
    (data / "train2017" / "000002.png").write_bytes(b"no image")
    command = ["synth", "edits", "--session", "1", "--out", tmp_path / "out", "--data", data]
    assert "000002.png: not a readable image" in error_line(capsys, command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes"]
