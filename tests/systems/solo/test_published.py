"""SOLO's published weights: imported, they give what the published network gives; names, facts, messages, presets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ldie
import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.config import merge
from ldie.errors import CheckpointError
from ldie.systems.solo import SYSTEM
from ldie.systems.solo.model import SOLO
from ldie.tasks.detection.coco_classes import COCO_CATEGORY_IDS, COCO_CLASSES, coco_facts
from ldie.tasks.detection.whole_images import evaluation_image
from ldie.weights import read_weights
from ldie.weights.solo import MMDETECTION
from PIL import Image
from systems.solo.published_files import SMALL, authors_file, imported, saved, small_file
from systems.solo.published_network import (
    GRIDS,
    Maps,
    PublishedNetwork,
    authors_name,
    published_results,
    published_shapes,
    random_file,
)
from torch import Tensor
from torch.nn import functional

from ldie_ext import rle_decode

SIZE = (160, 96)
"""Of images; the coarsest map has sides of three and two cells for five and three."""


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """A file of the published size under mmdetection's names; few places have a category."""
    tensors = random_file()
    tensors["mask_head.conv_cls.bias"] -= 6
    return tensors


@pytest.fixture(scope="module")
def place(weights, tmp_path_factory) -> Path:
    """A folder with that file and the checkpoint of ours made of it."""
    folder = tmp_path_factory.mktemp("published")
    file = saved(folder / "model.pth", weights, "mmengine")
    assert main(["import", "solo", str(file), "--out", str(folder / "model.safetensors")]) == 0
    return folder


def own_outputs(model: SOLO, images: Tensor) -> Maps:
    """What our model gives, as the published network gives it: all masks, twice as fine as their maps."""
    with torch.no_grad():
        outlook = model.eval()(images)
        masks = []
        for level, (features, grid) in enumerate(zip(outlook.features, GRIDS)):
            count = len(images)
            places = torch.arange(grid**2).repeat(count)
            logits = model.head.masks(features, level, [grid**2] * count, places).unflatten(0, (count, grid**2))
            masks.append(functional.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False))
    return Maps(masks, outlook.categories)


def check_outputs(found: Maps, expected: Maps) -> None:
    """The same to 1e-4, of logits about 1."""
    for part, name in zip(expected, Maps._fields):
        ours = getattr(found, name)
        assert len(ours) == len(part) == len(GRIDS)
        for own, theirs in zip(ours, part):
            assert theirs.std() > 0.5
            torch.testing.assert_close(own, theirs, rtol=0, atol=1e-4)


def test_imported_weights_give_the_outputs_of_the_published_network(place, weights):
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = PublishedNetwork(weights)(images)
    loaded = ldie.load(place / "model.safetensors", device="cpu").model
    assert loaded.facts == coco_facts() and len(loaded.state_dict()) == 335
    check_outputs(own_outputs(loaded, images), expected)


@pytest.mark.parametrize("size", [(120, 150), (61, 40)])
def test_objects_are_those_of_the_published_test(size, weights, place):
    """But for how images are resized, where the file does not say it: the reference gets ours."""
    loaded = ldie.load(place / "model.safetensors", device="cpu")
    options = replace(loaded.model.config.input, shorter_side=96, longest=160)
    loaded.model.config = replace(loaded.model.config, input=options)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    (found,) = loaded(image)
    seen = evaluation_image(image, options, "detectron2")
    height, width = seen.shape[1:]
    with torch.no_grad():
        maps = PublishedNetwork(weights)(functional.pad(seen, (0, -width % 32, 0, -height % 32))[None])
    expected = published_results(maps, 0, (height, width), size)
    assert len(found) == len(expected.scores) > 20 and len(set(found.labels.tolist())) > 1
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    masks = rle_decode(found.masks)
    same = (found.labels == expected.labels).nonzero().flatten()  # scores alike to the last digit may change places
    assert len(same) > 0.9 * len(found)
    assert (masks[same] != expected.masks[same]).float().mean() < 1e-4


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (64, 160)])
def test_the_authors_names_and_sizes_that_the_coarsest_map_is_no_half_of(size):
    """A map of one cell for one, and of two for three: what is made of it follows the image and not the map."""
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = PublishedNetwork(small_file())(images)
    check_outputs(own_outputs(imported(authors_file(small_file()), "r50_3x"), images), expected)


@pytest.mark.parametrize("spelled", [str, authors_name], ids=["mmdetection", "authors"])
def test_every_tensor_has_one_counterpart(spelled):
    shapes = {spelled(name): shape for name, shape in published_shapes().items()}
    counters = {name for name in shapes if name.endswith("num_batches_tracked")}
    assert len(counters) == 53 and len(shapes) == 388
    renamed, unknown = MMDETECTION.rename_all(shapes)
    with torch.device("meta"):
        own = SYSTEM.model.from_config(SYSTEM.preset("r50_1x"), coco_facts()).state_dict()
    assert unknown == [] and renamed == {name: tuple(value.shape) for name, value in own.items()}
    back = MMDETECTION.inverse()
    assert {back.rename(name) for name in renamed} == {n for n in published_shapes() if not n.endswith("tracked")}


def test_heads_are_also_taken_under_the_other_name():
    for name in ("conv_mask_list.3.bias", "cls_convs.0.gn.weight", "conv_cls.weight"):
        own = MMDETECTION.rename(f"mask_head.{name}")
        assert own is not None and MMDETECTION.rename(f"bbox_head.{name}") == own
    assert MMDETECTION.rename("mask_head.solo_cate.bias") == MMDETECTION.rename("bbox_head.solo_cate.bias")
    assert MMDETECTION.rename("bbox_head.retina_cls.bias") is None


@pytest.mark.parametrize("kind", ["mmdetection", "mmengine", "authors"])
def test_files_of_every_kind_hold_the_same(kind, tmp_path):
    weights = small_file()
    given = authors_file(weights) if kind == "authors" else weights
    path = saved(tmp_path / "model.pth", given, kind)
    if kind == "mmengine":
        with pytest.raises(Exception, match=r"[Ww]eights"):
            torch.load(path, weights_only=True)
    found = imported(read_weights(path)).state_dict()
    expected = imported(weights).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    third = "backbone.bottom_up.res4.2.conv2.norm.running_var"
    assert torch.equal(found[third], weights["backbone.layer3.2.bn2.running_var"])
    assert torch.equal(found["head.mask_convs.6.norm.bias"], weights["mask_head.mask_convs.6.gn.bias"])
    assert torch.equal(found["backbone.fpn_output5.weight"], weights["neck.fpn_convs.3.conv.weight"])


@pytest.mark.parametrize(("classes", "first"), [(80, "person"), (1, "class 0"), (20, "class 0"), (81, "class 0")])
def test_facts(classes, first):
    for weights in (small_file(classes), authors_file(small_file(classes))):
        facts = imported(weights).facts
        assert len(facts["classes"]) == len(facts["category_ids"]) == classes and facts["classes"][0] == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.conv1.weight"), r"\(missing: backbone\.conv1\.weight\)"),
        (lambda w: w.pop("mask_head.conv_cls.bias"), r"\(missing: mask_head\.conv_cls\.bias\)"),
        (lambda w: w.pop("neck.fpn_convs.3.conv.bias"), r"\(missing: neck\.fpn_convs\.3\.conv\.bias\)"),
        (lambda w: w.update({"fc.weight": torch.ones(2)}), r"\(not in it: fc\.weight\)"),
        (
            lambda w: w.update({"mask_head.conv_mask_list.5.bias": torch.ones(64)}),
            r"\(not in it: mask_head\.conv_mask_list\.5\.bias\)",
        ),
        (
            lambda w: w.update({"bbox_head.solo_cate.bias": torch.ones(80)}),
            r"\(not in it: bbox_head\.solo_cate\.bias\)",
        ),
        (
            lambda w: w.update({"mask_head.conv_mask_list.0.bias": torch.ones(576)}),
            r"other shapes: mask_head\.conv_mask_list\.0\.bias \[576\] instead of \[1600\]",
        ),
        (
            lambda w: w.update({"mask_head.conv_cls.bias": torch.ones(())}),
            r"other shapes: .*conv_cls\.bias \[\] instead of \[80\]",
        ),
        (
            lambda w: w.update({"mask_head.conv_cls.weight": torch.ones(10**6, 0, 3, 3)}),
            r"other shapes: .*conv_cls\.weight \[1000000, 0, 3, 3\] instead of \[80, 256, 3, 3\]",
        ),
        (
            lambda w: w.update({"mask_head.conv_cls.weight": torch.ones(80, 256, 1, 1)}),
            r"other shapes: .*conv_cls\.weight \[80, 256, 1, 1\] instead of \[80, 256, 3, 3\]",
        ),
        (lambda w: w.clear(), r"missing: backbone\.conv1\.weight"),
    ],
)
def test_what_does_not_fit_is_named_as_in_the_file(change, message):
    weights = small_file()
    change(weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        imported(weights)
    assert str(caught.value).startswith("model.pth: not the weights of solo's r50_1x (")
    assert "\n" not in str(caught.value)


def test_the_authors_names_are_those_of_their_file():
    weights = authors_file(small_file())
    del weights["bbox_head.solo_ins_list.0.bias"]
    weights["bbox_head.ins_convs.0.conv.weight"] = torch.ones(256, 8, 3, 3)
    weights["bbox_head.kernel_convs.0.conv.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError) as caught:
        imported(weights)
    assert "not in it: bbox_head.kernel_convs.0.conv.weight; " in str(caught.value)
    assert "bbox_head.ins_convs.0.conv.weight [256, 8, 3, 3] instead of [256, 10, 3, 3]" in str(caught.value)
    assert "missing: mask_head.conv_mask_list.0.bias; " in str(caught.value)  # what is not there has today's name


def test_files_of_other_networks_are_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SYSTEM.presets, "r50_1x", SMALL.preset("r50_1x"))
    weights, out = small_file(), tmp_path / "x.safetensors"
    parts = {
        "resnet.pth": {name.removeprefix("backbone."): value for name, value in weights.items() if "bone" in name},
        "decoupled.pth": {name.replace("conv_mask_list", "conv_mask_list_x"): value for name, value in weights.items()},
        "deep.pth": weights | {"backbone.layer3.6.conv1.weight": torch.ones(4, 16, 1, 1)},
        "two.pth": {name: value for name, value in weights.items() if "neck" not in name},
    }
    messages = {
        "resnet.pth": "not in it: conv1.weight, bn1.weight",
        "decoupled.pth": "not in it: mask_head.conv_mask_list_x.0.weight",
        "deep.pth": "(not in it: backbone.layer3.6.conv1.weight)",
        "two.pth": "(missing: neck.lateral_convs.0.conv.weight",
    }
    for name, content in parts.items():
        saved(tmp_path / name, content, "mmdetection")
        line = error_line(capsys, ["import", "solo", tmp_path / name, "--out", out])
        assert f"{name}: not the weights of solo's r50_1x (" in line and messages[name] in line
    file = saved(tmp_path / "model.pth", weights, "mmdetection")
    line = error_line(capsys, ["import", "solo", file, "--out", out, "--preset", "tiny"])
    assert "no published weights of solo for preset 'tiny'; known: r50_1x, r50_3x" in line
    (tmp_path / "none.pth").write_bytes(b"<html>")
    assert "no readable weights" in error_line(capsys, ["import", "solo", tmp_path / "none.pth", "--out", out])
    assert not out.exists()


def coco_like(folder: Path) -> Path:
    """A data set of two noisy images with COCO's classes."""
    rng = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        (folder / split).mkdir(parents=True)
        images = []
        for id, (height, width) in enumerate([(75, 100), (64, 41)], start=1):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{id}.png")
            images.append({"id": id, "file_name": f"{id}.png", "height": height, "width": width})
        categories = [{"id": id, "name": name} for id, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES)]
        box = {"id": 1, "image_id": 1, "category_id": 90, "bbox": [10, 10, 30, 40], "area": 1200, "iscrowd": 0}
        box["segmentation"] = [[10, 10, 40, 10, 40, 50, 10, 50]]
        (folder / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": [box], "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def test_it_is_evaluated_and_predicts_with_coco_s_names_and_ids(tmp_path, monkeypatch, capsys):
    small = {"input": {"shorter_side": 128, "longest": 256}}
    monkeypatch.setitem(SYSTEM.presets, "r50_1x", merge(SMALL.preset("r50_1x"), small))
    weights = small_file()
    weights["mask_head.conv_cls.weight"].mul_(0.1)
    weights["mask_head.conv_cls.bias"].fill_(-6)
    weights["mask_head.conv_cls.bias"][39] = 2
    file, out = saved(tmp_path / "model.pth", weights, "mmengine"), tmp_path / "x.safetensors"
    assert main(["import", "solo", str(file), "--out", str(out)]) == 0
    assert "80 classes: person, bicycle" in capsys.readouterr().out
    data = coco_like(tmp_path / "coco")
    command = ["eval", str(out), "--data", str(data), "--out", str(tmp_path / "eval"), "--device", "cpu"]
    assert main(command) == 0
    assert "segm/AP" in json.loads((tmp_path / "eval" / "metrics.json").read_text())
    photo = str(data / "val2017" / "1.png")
    (found,) = ldie.load(out, device="cpu")(photo)
    assert len(found) > 0 and set(found.labels.tolist()) == {39} and COCO_CLASSES[39] == "bottle"
    assert main(["predict", str(out), photo, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {entry["category_id"] for entry in predictions["annotations"]} == {44}
