"""CenterNet's published weights: imported, they give what the published network and its test code give."""

from __future__ import annotations

import json
import logging
import re
import shlex
from pathlib import Path

import ldie
import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import build_parser, main
from ldie.commands.import_weights import convert
from ldie.config import merge, override
from ldie.errors import CheckpointError
from ldie.systems.centernet import SYSTEM
from ldie.systems.centernet.inputs import evaluation_corner, evaluation_image
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.published import RESDCN18
from ldie.tasks.detection.coco_classes import COCO_CATEGORY_IDS, COCO_CLASSES
from PIL import Image
from systems.centernet.helpers import make_batch, small_config, small_recipe
from systems.centernet.published_network import PublishedNetwork, published_results, random_network

MODEL = Path("model.pth")


@pytest.fixture(scope="module")
def network() -> PublishedNetwork:
    return random_network()


@pytest.fixture(scope="module")
def place(network, tmp_path_factory) -> Path:
    """A folder with ``model.pth`` as published, ``x.safetensors`` made of it, and a data set with COCO's classes."""
    folder = tmp_path_factory.mktemp("published")
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    weights = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    content = {"epoch": 140, "state_dict": weights, "optimizer": {"state": {0: {"step": 7}}}}
    torch.save(content, folder / MODEL, _use_new_zipfile_serialization=False)
    assert main(["import", "centernet", str(folder / MODEL), "--out", str(folder / "x.safetensors")]) == 0
    rng = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        (folder / "coco" / split).mkdir(parents=True)
        images = []
        for id, (height, width) in enumerate([(75, 100), (64, 41)], start=1):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "coco" / split / f"{id}.png")
            images.append({"id": id, "file_name": f"{id}.png", "height": height, "width": width})
        categories = [{"id": id, "name": name} for id, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES)]
        box = {"id": 1, "image_id": 1, "category_id": 90, "bbox": [10, 10, 30, 40], "area": 1200, "iscrowd": 0}
        box["segmentation"] = [[10, 10, 40, 10, 40, 50, 10, 50]]
        (folder / "coco" / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": [box], "categories": categories}
        (folder / "coco" / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def test_outputs_are_those_of_the_published_network(network):
    model = convert(SYSTEM, None, network.state_dict(), MODEL).eval()
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (ours,) = model([images])
        expected = network(images)
    for name, part in zip(("hm", "wh", "reg"), ours, strict=True):
        assert expected[name].std() > 0.05
        torch.testing.assert_close(part, expected[name], rtol=1e-5, atol=1e-5)


def test_every_name_has_one_counterpart(network):
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    names = network.state_dict().keys() - counters
    assert len(counters) == 26 and len(names) == 151
    renamed = {name: RESDCN18.names.rename(name) for name in names}
    assert None not in renamed.values() and len(set(renamed.values())) == len(names)
    back = RESDCN18.names.inverse()
    assert {name: back.rename(new) for name, new in renamed.items()} == {name: name for name in names}
    biases = {f"detector.ups.{u}.0.0.conv.bias" for u in range(3)}
    own = set(SYSTEM.model.from_config(PRESETS["resdcn18"], RESDCN18.facts({})).state_dict())
    assert set(renamed.values()) - biases == {name for name in own if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("size", [(75, 100), (64, 41), (127, 96)])
def test_detections_are_those_of_the_published_test(size, network, place):
    model = ldie.load(place / "x.safetensors", device="cpu")
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    (found,) = model(image)
    boxes, scores, labels = published_results(network, image)
    limit = torch.tensor([size[1], size[0]]).repeat(2)
    assert len(found) == 100
    torch.testing.assert_close(found.scores, scores, rtol=1e-4, atol=1e-5)
    same = found.labels == labels  # scores that are equal to the last digit may change places
    assert same.float().mean() > 0.95
    inside = torch.minimum(boxes.clamp(min=0), limit)  # ours end at the image's border
    torch.testing.assert_close(found.boxes[same], inside[same], rtol=1e-4, atol=1e-3)


def test_the_checkpoint_knows_coco(place):
    model = ldie.load(place / "x.safetensors", device="cpu")
    assert model.step == 0 and model.facts["classes"][79] == "toothbrush" and model.facts["category_ids"][79] == 90
    assert len(set(COCO_CLASSES)) == len(COCO_CATEGORY_IDS) == 80 and COCO_CLASSES[39] == "bottle"
    assert COCO_CATEGORY_IDS[39] == 44 and COCO_CATEGORY_IDS[:12] == (*range(1, 12), 13)
    assert not any(name.startswith("discriminator") for name in model.model.state_dict())


def test_it_is_evaluated_and_predicts(place, tmp_path, capsys):
    checkpoint, data = str(place / "x.safetensors"), str(place / "coco")
    assert main(["eval", checkpoint, "--data", data, "--out", str(tmp_path / "eval"), "--device", "cpu"]) == 0
    assert "bbox/AP" in json.loads((tmp_path / "eval" / "metrics.json").read_text())
    with Image.open(tmp_path / "eval" / "pictures" / "heatmap_scale_0.png") as picture:
        assert picture.size[0] > 100
    photo = str(place / "coco" / "val2017" / "1.png")
    assert main(["predict", checkpoint, photo, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["categories"]) == 80
    assert "coco: no such folder" in error_line(capsys, ["eval", checkpoint, "--out", tmp_path / "eval"])


def test_training_goes_on_from_it(place, tmp_path):
    changes = {
        "max_iter": 1, "batch_size": 2, "num_workers": 0, "sync_batchnorm": False, "pretrained": True,
        "pretrained_model": place / "x.safetensors", "data.heatmap_size": 16, "detector.lr": 1e-6,
    }  # fmt: skip
    command = ["train", "centernet", "--preset", "resdcn18", "--data", str(place / "coco"), "--device", "cpu"]
    changes = [f"solver.{key}={value}" for key, value in changes.items()]
    assert main([*command, "--work-dir", str(tmp_path / "run"), "--set", *changes]) == 0
    trained, before = (ldie.load(path).model.state_dict() for path in (tmp_path / "run", place / "x.safetensors"))
    assert trained.keys() == before.keys()
    weights = [name for name in before if name.endswith("weight")]
    differences = torch.stack([(trained[name] - before[name]).abs().max() for name in weights])
    assert 0 < differences.max() < 1e-5  # one step of Adam


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("layer1.0.conv1.weight"), r"\(missing: layer1\.0\.conv1\.weight\)"),
        (lambda w: w.update({"fc.weight": torch.ones(2)}), r"\(not in it: fc\.weight\)"),
        (lambda w: w.update({"layer5.0.conv1.weight": torch.ones(2)}), r"not in it: layer5\.0\.conv1\.weight"),
        (lambda w: w.update({"hm.2.weight": torch.ones(3)}), r"other shapes: hm\.2\.weight \[3\] instead of \[80, 64,"),
        (lambda w: w.update({"hm.2.bias": torch.ones(())}), r"other shapes: hm\.2\.weight \[80, 64, 1, 1\] instead"),
        (lambda w: w.update({"deconv_layers.0.bias": torch.ones(3)}), r"not in it: deconv_layers\.0\.bias"),
        (lambda w: [w.pop(name) for name in list(w) if name.startswith("deconv")], r"missing: deconv_.*, \.\.\."),
        (lambda w: w.clear(), r"missing: conv1\.weight, bn1\.weight, bn1\.bias, \.\.\."),
    ],
)
def test_what_does_not_fit_is_named_as_in_the_file(change, message, network):
    weights = dict(network.state_dict())
    change(weights)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(SYSTEM, None, weights, MODEL)
    assert str(caught.value).startswith("model.pth: not the weights of centernet's resdcn18 (")
    assert "\n" not in str(caught.value)


def test_other_classes_are_numbered():
    weights = random_network(num_classes=20).state_dict()
    model = convert(SYSTEM, "resdcn18", weights, MODEL)
    assert model.facts["classes"][19] == "class 19" and model.facts["category_ids"] == list(range(1, 21))
    assert torch.equal(model.detector.heatmap[2].weight, weights["hm.2.weight"])


def test_errors_of_the_command(place, tmp_path, capsys):
    file, out = place / MODEL, tmp_path / "x.safetensors"
    empty = tmp_path / "empty.pth"
    torch.save({"state_dict": {"fc.weight": torch.ones(2)}}, empty)
    for command, message in (
        (["centernet", file, "--out", file], "--out must be another file than"),
        (["centernet", file, "--out", out, "--preset", "tiny"], "no published weights of centernet for preset 'tiny'"),
        (["center", file, "--out", out], "unknown system 'center'; did you mean centernet?"),
        (["centernet", tmp_path / "no.pth", "--out", out], "no readable weights ([Errno 2] No such file"),
        (["centernet", empty, "--out", out], f"{empty}: not the weights of centernet's resdcn18 (missing: conv1"),
        (["centernet", file, "--out", tmp_path], "cannot be written"),
    ):
        assert message in error_line(capsys, ["import", *command])
    assert not out.exists() and torch.load(file, weights_only=True)["epoch"] == 140


@pytest.mark.parametrize("name", ["n" * 5000, "a\nb", "\x1b[31mred", "a\0b"])
def test_tensors_and_files_of_any_name(name, tmp_path, capsys):
    file, out = tmp_path / "w.pth", tmp_path / "x.safetensors"
    torch.save({name: torch.ones(2)}, file)
    assert "not in it: " in error_line(capsys, ["import", "centernet", file, "--out", out])
    error_line(capsys, ["import", "centernet", name, "--out", out])
    error_line(capsys, ["import", "centernet", file, "--out", f"{tmp_path}/{name}"])
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("size", "seen"), [((31, 32), (32, 64)), ((33, 512), (64, 544)), ((511, 63), (512, 64)), ((1, 1), (32, 32))]
)
def test_padding_puts_the_image_into_the_middle(size, seen):
    config = small_config(solver={"contents_match": False}, input={"max_size": 0}, test={"pad_multiple": 32})
    image = torch.randint(1, 256, (3, *size), dtype=torch.uint8)
    padded = evaluation_image(image, 0, config)
    top, left = evaluation_corner(size, 0, config)
    assert tuple(padded.shape[1:]) == seen
    assert (top, left) == (seen[0] // 2 - size[0] // 2, seen[1] // 2 - size[1] // 2)
    assert torch.equal(padded[:, top : top + size[0], left : left + size[1]], image)
    assert int(padded.count_nonzero()) == image.numel()


def test_heatmaps_show_the_image_without_its_padding():
    config = {"solver": {"contents_match": False}, "input": {"max_size": 0}, "test": {"pad_multiple": 32}}
    model = small_recipe(**config).model.eval()
    with torch.no_grad():
        maps = model.heatmaps([torch.zeros(3, 40, 72, dtype=torch.uint8)])
    assert [tuple(part.shape) for (part,) in maps.values()] == [(10, 18), (20, 36), (40, 72)]


def test_without_a_discriminator_all_steps_are_the_detector_s(caplog):
    recipe = small_recipe(model={"discriminator": {"type": "none"}}, solver={"log_step": 1})
    assert list(recipe.optimizers) == ["detector"] and {recipe.phase(step) for step in range(10)} == {"detector"}
    with caplog.at_level(logging.WARNING):
        terms = recipe.train_step(make_batch(recipe), 9)
    assert "total_loss" in terms and not any("adv" in name for name in terms)
    assert not any(name.startswith("discriminator") for name in recipe.model.state_dict())


def test_the_commands_of_the_document_are_right():
    text = (Path(__file__).parents[3] / "docs" / "weights.md").read_text()
    block = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0]  # the first system's
    lines = [shlex.split(line) for line in block.splitlines()]
    assert [line[:2] for line in lines] == [["ldie", name] for name in ("import", "eval", "predict", "train")]
    for line in lines:
        options = build_parser().parse_args(line[1:])
    override(PRESETS[options.preset], options.set).check()


def test_the_preset_is_that_of_the_published_code():
    config = merge(PRESETS["resdcn18"], {})
    config.check()
    assert config.model.down_ratios == (4,) and not config.test.nms and config.test.max_objects == 100
    assert config.input.bgr and config.test.pad_multiple == 32
