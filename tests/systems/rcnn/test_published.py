"""Published weights: shapes, names and class rows of torchvision's and detectron2's files, and their facts."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import ldie
import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.errors import CheckpointError
from ldie.systems.rcnn import SYSTEM
from ldie.systems.rcnn.published import PUBLISHED
from ldie.tasks.detection import TASK
from ldie.tasks.detection.annotations import read_annotations
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.coco_classes import COCO_CATEGORY_IDS, COCO_CLASSES, coco_facts, coco_person_facts
from ldie.weights import read_weights
from PIL import Image
from systems.rcnn.published_files import CLASS_OUTPUTS, SMALL, imported, own_weights, torchvision_file
from weights.test_names import KEYPOINT, LISTED, MASK, MASK_V2

TORCHVISION_MODELS = {"mask_r50": MASK, "mask_r50_v2": MASK_V2, "keypoint_r50": KEYPOINT}
DETECTRON2_MODELS = ("mask_r50_detectron2", "keypoint_r50_detectron2")
KEYPOINTS = {"keypoint_r50": 17, "keypoint_r50_detectron2": 17}


@pytest.mark.parametrize("preset", TORCHVISION_MODELS)
def test_torchvision_s_shapes_are_those_of_the_preset(preset):
    text = LISTED.read_text()
    lines = "".join(text.split(f"[{part}]\n")[1].split("[")[0] for part in ("backbone", TORCHVISION_MODELS[preset]))
    file = {
        name: torch.empty([] if shape == "-" else [int(n) for n in shape.split(",")], device="meta")
        for name, shape, *_ in map(str.split, lines.splitlines())
    }
    published = PUBLISHED[preset]
    found = published.adapt(published.names.rename_all(file)[0])
    with torch.device("meta"):
        model = SYSTEM.model.from_config(SYSTEM.preset(preset), published.facts(file))
    own = {name: value.shape for name, value in model.state_dict().items() if not name.endswith("tracked")}
    assert {name: value.shape for name, value in found.items()} == own
    assert len(own) == {"mask_r50": 307, "mask_r50_v2": 363, "keypoint_r50": 313}[preset]


@pytest.mark.parametrize(("preset", "old"), [("mask_r50", False), ("mask_r50", True), ("mask_r50_v2", False)])
def test_of_torchvision_s_91_rows_the_80_classes_remain_and_the_background_is_last(preset, old):
    weights = torchvision_file(preset, old=old)
    model = imported(preset, weights)
    found = model.state_dict()
    for layer, each in CLASS_OUTPUTS.items():
        expected = torch.tensor(COCO_CATEGORY_IDS, dtype=torch.float32).repeat_interleave(each)
        if layer.endswith("cls_score"):
            expected = torch.cat((expected, torch.zeros(1)))
        for kind in ("weight", "bias"):
            value = found[f"{layer}.{kind}"].flatten(1) if kind == "weight" else found[f"{layer}.{kind}"][:, None]
            assert torch.equal(value, expected[:, None].expand_as(value)), layer
    assert model.facts == coco_facts()
    name = "backbone.fpn_output3.norm.running_var" if preset == "mask_r50_v2" else "backbone.fpn_output3.weight"
    assert torch.equal(found[name], own_weights(preset, classes=90)[name])
    spelled = (
        "backbone.fpn.layer_blocks.1.weight" if old and preset == "mask_r50" else "backbone.fpn.layer_blocks.1.0.weight"
    )
    assert spelled in weights


@pytest.mark.parametrize("old", [False, True])
def test_torchvision_s_keypoints(old):
    model = imported("keypoint_r50", torchvision_file("keypoint_r50", 1, 17, old=old))
    weights = model.state_dict()
    assert len(weights) == 313 and model.facts == coco_person_facts()
    assert weights["roi_heads.box_predictor.cls_score.bias"].tolist() == [1, 0]
    assert weights["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("preset", DETECTRON2_MODELS)
def test_detectron2_s_pickles_load_unmapped(preset, protocol, tmp_path):
    keypoints = KEYPOINTS.get(preset, 0)
    weights = own_weights(preset, 1 if keypoints else 80, keypoints)
    others = {f"proposal_generator.anchor_generator.cell_anchors.{i}": torch.rand(3, 4) for i in range(5)}
    others |= {"pixel_mean": torch.rand(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    content = {"model": {name: value.numpy() for name, value in (weights | others).items()}, "__author__": "someone"}
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    model = imported(preset, read_weights(path))
    found = model.state_dict()
    assert found.keys() == weights.keys() and all(torch.equal(found[name], value) for name, value in weights.items())
    assert model.facts == (coco_person_facts() if keypoints else coco_facts())


def test_conventions_of_the_two_are_those_of_their_presets():
    ours, theirs = (SYSTEM.preset(name) for name in ("mask_r50", "mask_r50_detectron2"))
    assert (ours.model.convention, theirs.model.convention) == ("torchvision", "detectron2")
    assert (ours.model.backbone.stride_in_1x1, theirs.model.backbone.stride_in_1x1) == (False, True)
    assert (ours.model.backbone.frozen_eps, theirs.model.backbone.frozen_eps) == (0.0, 1e-5)
    assert (ours.input.bgr, theirs.input.bgr) == (False, True)
    # (x / 255 - mean) / std is to be x minus detectron2's mean of blue, green and red
    pixel = torch.tensor([103.53, 116.28, 123.675]) / 255
    torch.testing.assert_close(
        (pixel - torch.tensor(theirs.input.mean)) / torch.tensor(theirs.input.std), torch.zeros(3)
    )
    assert torch.tensor(theirs.input.std).reciprocal().tolist() == pytest.approx([255] * 3)


def coco_like(folder: Path, categories: list[dict]) -> CocoDataset:
    image = {"id": 1, "file_name": "1.png", "height": 40, "width": 60}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    (folder / "annotations").mkdir()
    (folder / "val").mkdir()
    Image.new("RGB", (60, 40)).save(folder / "val" / "1.png")
    content = {"images": [image], "annotations": [box], "categories": categories}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return CocoDataset(folder, "val")


def test_facts_are_those_of_coco_s_own_files(tmp_path):
    """Names, ids, mirrored pairs and bones as the task reads them from the category that COCO's files have."""
    sides = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    names = ["nose", *(f"{side}_{part}" for part in sides for side in ("left", "right"))]
    bones = [
        [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11],
        [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
    ]  # fmt: skip
    dataset = coco_like(tmp_path, [{"id": 1, "name": "person", "keypoints": names, "skeleton": bones}])
    assert read_annotations(dataset.annotation_file).categories[1].keypoints == tuple(names)
    assert coco_person_facts() == TASK.facts(dataset)
    assert coco_person_facts()["flip_pairs"] == [[i, i + 1] for i in range(1, 17, 2)]
    TASK.validate(coco_facts())


@pytest.mark.parametrize(
    ("preset", "classes", "keypoints", "first", "points"),
    [
        ("mask_r50", 2, 0, "class 0", 0),
        ("mask_r50", 1, 0, "class 0", 0),
        ("mask_r50", 80, 0, "person", 0),
        ("mask_r50_v2", 20, 0, "class 0", 0),
        ("mask_r50_detectron2", 90, 0, "class 0", 0),
        ("keypoint_r50", 1, 5, "class 0", 5),
        ("keypoint_r50", 3, 17, "class 0", 17),
        ("keypoint_r50_detectron2", 1, 17, "person", 17),
    ],
)
def test_other_numbers_of_classes_and_keypoints(preset, classes, keypoints, first, points):
    make = own_weights if preset.endswith("detectron2") else torchvision_file
    model = imported(preset, make(preset, classes, keypoints))
    assert len(model.facts["classes"]) == len(model.facts["category_ids"]) == classes
    assert model.facts["classes"][0] == first and len(model.facts["keypoints"]) == points
    assert model.state_dict()["roi_heads.box_predictor.cls_score.bias"].shape == (classes + 1,)


@pytest.mark.parametrize("preset", ["mask_r50", "mask_r50_detectron2"])
def test_imported_files_predict_with_coco_s_names_and_ids(preset, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SYSTEM.presets, preset, SMALL.preset(preset))
    detectron2 = preset.endswith("detectron2")
    weights = own_weights(preset) if detectron2 else torchvision_file(preset, old=True)
    bottle = 39 if detectron2 else 44  # its label here, its id in COCO
    for kind in ("weight", "bias"):
        weights[f"roi_heads.box_predictor.cls_score.{kind}"].zero_()
        weights[f"roi_heads.box_predictor.bbox_pred.{kind}"].zero_()
    weights["roi_heads.box_predictor.cls_score.bias"][bottle] = 9
    file, out = tmp_path / "model.pth", tmp_path / "x.safetensors"
    torch.save({"model": weights}, file)
    assert main(["import", "rcnn", str(file), "--preset", preset, "--out", str(out)]) == 0
    assert "80 classes: person, bicycle" in capsys.readouterr().out
    image = tmp_path / "1.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(image)
    (found,) = ldie.load(out, device="cpu")(image)
    assert len(found) > 0 and set(found.labels.tolist()) == {39} and COCO_CLASSES[39] == "bottle"
    assert main(["predict", str(out), str(image), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {entry["category_id"] for entry in predictions["annotations"]} == {44}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.body.conv1.weight"), r"\(missing: backbone\.body\.conv1\.weight\)"),
        (lambda w: w.update({"fc.weight": torch.ones(2)}), r"\(not in it: fc\.weight\)"),
        (
            lambda w: w.update({"roi_heads.box_predictor.bbox_pred.bias": torch.ones(3)}),
            r"other shapes: roi_heads\.box_predictor\.bbox_pred\.bias \[0\] instead of \[320\]",
        ),
        (
            lambda w: w.update({"roi_heads.box_predictor.cls_score.bias": torch.ones(())}),
            r"other shapes: .*cls_score\.bias \[\] instead of \[81\]",
        ),
        (
            lambda w: w.update({"roi_heads.box_predictor.cls_score.weight": torch.ones(10**6, 0)}),
            r"other shapes: .*cls_score\.weight \[1000000, 0\] instead of \[81, 1024\]",
        ),
        (lambda w: w.update({"roi_heads.mask_predictor.mask_fcn_logits.bias": torch.ones(())}), r"other shapes: "),
        (lambda w: w.clear(), r"missing: backbone\.body\.conv1\.weight"),
    ],
)
def test_what_does_not_fit_is_named_as_in_the_file(change, message):
    weights = torchvision_file("mask_r50")
    change(weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        imported("mask_r50", weights)
    assert str(caught.value).startswith("model.pth: not the weights of rcnn's mask_r50 (")


def test_a_file_of_another_preset_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SYSTEM.presets, "mask_r50", SMALL.preset("mask_r50"))
    file, out = tmp_path / "keypoints.pth", tmp_path / "x.safetensors"
    torch.save(torchvision_file("keypoint_r50", 1, 17), file)
    line = error_line(capsys, ["import", "rcnn", file, "--out", out])
    assert "not the weights of rcnn's mask_r50 (missing: roi_heads.mask_head.0.0.weight" in line
    line = error_line(capsys, ["import", "rcnn", file, "--out", out, "--preset", "tiny"])
    assert "known: mask_r50, mask_r50_v2, keypoint_r50, mask_r50_detectron2, keypoint_r50_detectron2" in line
    assert not out.exists()
