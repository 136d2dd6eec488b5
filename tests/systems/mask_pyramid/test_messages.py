# SPDX-License-Identifier: Apache-2.0
"""Data, checkpoints, weights and settings that do not fit: each is one line on what to do; nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.engine.trainer import Trainer
from ldie.systems.solo import SYSTEM as SOLO
from ldie.tasks.detection import CocoDataset
from safetensors.torch import save_file
from systems.changed_data import Content, changed_copy
from systems.mask_pyramid.helpers import CPU, make_trainer
from systems.rcnn.helpers import make_shapes
from systems.rcnn.test_messages import (
    no_images,
    no_objects,
    one_crowd,
    other_classes,
    two_classes,
    without_keypoints,
    without_masks,
)
from systems.solo.helpers import small_config as solo_config
from systems.solo.test_messages import one_object, some_without_masks

TRAIN, VAL = (f"annotations/instances_{split}.json" for split in ("train2017", "val2017"))
ONE_STEP = [
    "solver.max_iter=1", "solver.batch_size=2", "model.backbone.widths=[16,16,16,16]", "model.mask.state_channel=8",
    "model.backbone.pyramid_channel=8", "solver.ema_decay=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data in shapes/, and a run on it in run/."""
    folder = tmp_path_factory.mktemp("place")
    data = make_shapes(folder)
    make_trainer(data, folder / "run", solver={"max_iter": 1}, dataset={"root": str(folder / "shapes")}).run()
    return folder


@pytest.fixture
def variant(place: Path, tmp_path: Path) -> Callable[[Callable[[Content], object]], Path]:
    """Makes a folder with the same data, but for what a function changes in each annotation file."""
    return lambda change: changed_copy(place / "shapes", tmp_path / "data", change)


CANNOT_BE_LEARNED = [
    (without_masks, "have no segmentation to learn masks from", "set another system, as the mask pyramid"),
    (some_without_masks, "1 of ", "add it, or set another system, as the mask pyramid learns masks alone"),
    (one_crowd, "has no object to learn from in 6 images, only 1 crowd", "annotate single objects, or choose other"),
    (no_objects, "has no object to learn from in 6 images, none", "annotate single objects, or choose other images"),
    (no_images, "images is empty", "give a data set with some"),
]


@pytest.mark.parametrize(("change", "wrong", "remedy"), CANNOT_BE_LEARNED)
def test_data_that_cannot_be_learned(change, wrong, remedy, variant, tmp_path, capsys) -> None:
    data, run = variant(change), tmp_path / "run"
    command = ["train", "mask_pyramid", "--data", data, "--work-dir", run, "--device", "cpu", "--set", *ONE_STEP]
    line = error_line(capsys, command)
    assert line.startswith(f"ldie: {data / TRAIN}: ") and wrong in line and remedy in line.partition("; ")[2]
    assert not any(run.iterdir())


@pytest.mark.parametrize("change", [without_keypoints, one_object])
def test_data_with_masks_is_enough(change, variant, tmp_path) -> None:
    """Keypoints are nothing to it, and one object is something to learn."""
    command = ["train", "mask_pyramid", "--data", variant(change), "--work-dir", tmp_path / "run", "--device", "cpu"]
    assert main([*map(str, command), "--set", *ONE_STEP]) == 0
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {name.partition("/")[0] for name in found} == {"bbox", "segm"}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (other_classes, "classes cat, dog, cow differ from those of {run}: circle, square, triangle; "),
        (no_images, "images is empty; "),
    ],
)
def test_data_that_it_cannot_be_evaluated_on(change, wrong, place, variant, tmp_path, capsys) -> None:
    data, run = variant(change), place / "run"
    line = error_line(capsys, ["eval", run, "--data", data, "--out", tmp_path / "eval", "--device", "cpu"])
    weights = run / "checkpoints/best.safetensors"
    assert line.startswith(f"ldie: {data / VAL}: {wrong.format(run=weights)}")
    assert not any((tmp_path / "eval").iterdir())


@pytest.mark.parametrize("change", [without_masks, one_crowd, no_objects])
def test_data_with_less_to_find_is_evaluated(change, place, variant, tmp_path) -> None:
    command = ["eval", place / "run", "--data", variant(change), "--out", tmp_path / "eval", "--device", "cpu"]
    assert main(list(map(str, command))) == 0
    found = json.loads((tmp_path / "eval/metrics.json").read_text())
    assert ("segm/AP" in found) == (change is not without_masks)


@pytest.mark.parametrize(
    ("change", "what"), [(other_classes, "other classes"), (two_classes, "other classes, category_ids")]
)
def test_a_run_goes_on_with_its_own_data_only(change, what, place, variant, capsys) -> None:
    data = variant(change)
    line = error_line(capsys, ["train", "mask_pyramid", "--resume", "--work-dir", place / "run", "--data", data])
    assert line.startswith(f"ldie: dataset.root: {data} is not the data of this run ({what}")
    assert line.endswith("; give that, or train anew in another --work-dir")


def test_a_checkpoint_of_another_system(place, tmp_path, capsys) -> None:
    """Neither does the mask pyramid go on with SOLO's, nor SOLO with the mask pyramid's."""
    config = solo_config(solver={"max_iter": 1}, dataset={"root": str(place / "shapes")})
    splits = [CocoDataset(place / "shapes", split) for split in ("train2017", "val2017")]
    Trainer(SOLO, replace(config, output_dir=str(tmp_path / "other")), *splits, CPU).run()
    file = tmp_path / "other/checkpoints/step_0000001.safetensors"
    line = error_line(capsys, ["train", "mask_pyramid", "--resume", "--work-dir", tmp_path / "other"])
    assert line == f"ldie: {file} is of system solo, not mask_pyramid; name that one"
    line = error_line(capsys, ["train", "solo", "--resume", "--work-dir", place / "run"])
    assert line.endswith(" is of system mask_pyramid, not solo; name that one")


def test_weights_of_which_none_fits(place, tmp_path, capsys) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"encoder.weight": torch.zeros(3)}, file)
    command = ["train", "mask_pyramid", "--data", place / "shapes", "--work-dir", tmp_path / "run", "--device", "cpu"]
    line = error_line(capsys, [*command, "--set", *ONE_STEP, f"solver.pretrained={file}"])
    assert line.startswith(f"ldie: {file}: none of its ") and "weight" in line and "use another file" in line


WRONG = {
    "model.start_stride=48": "model.start_stride must be one of 8, 16, 32, 64, 128, 256, 512, 1024, got 48",
    "model.last_stride=32": "model.growth.max_alive needs one number or 1, got [",
    "model.mask.gauss_mode=times": "model.mask.gauss_mode must be one of onehot, concat, multiply, add, got 'times'",
    "model.growth.topk_keep=9": "model.growth.topk_keep",
    "solver.loss.masks=[focal]": "solver.loss.masks",
    "solver.stage.level=1": "unknown configuration key solver.stage.level; did you mean solver.stage.levels?",
}


@pytest.mark.parametrize("setting", WRONG)
def test_settings_that_are_none(setting, place, tmp_path, capsys) -> None:
    command = ["train", "mask_pyramid", "--data", place / "shapes", "--work-dir", tmp_path / "run", "--device", "cpu"]
    line = error_line(capsys, [*command, "--set", *ONE_STEP, setting])
    assert WRONG[setting] in line
    assert not (tmp_path / "run/config.yaml").exists()
