"""A trained model in a few lines: what it takes, what it gives, and the lines of the README."""

from __future__ import annotations

import doctest
import json
import logging
from dataclasses import replace
from pathlib import Path

import ldie
import numpy as np
import pytest
import torch
from documents import ROOT, python_blocks, run_clean
from ldie.cli import main
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError, DataError
from ldie.systems.centernet import SYSTEM, CenterNet
from ldie.tasks.detection import Detections, Prediction, read_image
from ldie.tasks.detection.masks import from_coco
from PIL import Image
from systems.centernet.helpers import make_shapes, small_config, small_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run in runs/centernet, street.jpg and a folder of images."""
    folder = tmp_path_factory.mktemp("place")
    shapes = make_shapes(folder)
    config = small_config(solver={"max_iter": 2}, dataset={"root": str(folder / "shapes")})
    Trainer(SYSTEM, replace(config, output_dir=str(folder / "runs" / "centernet")), *shapes, CPU).run()
    Image.open(folder / "shapes/val2017/000001.png").save(folder / "street.jpg")
    return folder


@pytest.fixture
def model(place):
    return ldie.load(place / "runs" / "centernet", device="cpu")


def assert_same(a: Detections, b: Detections) -> None:
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_the_lines_of_the_readme_run(place):
    (code,) = (block for block in python_blocks(ROOT / "README.md") if "ldie.load" in block)
    assert len([line for line in code.splitlines() if line]) == 5
    assert "tensor" in run_clean(code, place)
    with Image.open(place / "street_found.png") as picture:
        assert picture.size == (384, 384)


def test_the_example_of_load_runs(monkeypatch):
    monkeypatch.setattr(logging.getLogger("ldie"), "handlers", [])  # those of the command line print to stdout
    assert doctest.testmod(ldie).failed == 0


def test_images_in_every_form_give_the_same(model, place):
    path = place / "shapes/val2017/000002.png"
    tensor = read_image(path)
    forms = [path, str(path), Image.open(path), tensor.permute(1, 2, 0).numpy(), tensor, tensor.float() / 255]
    (expected,) = model(path)
    assert len(expected) == len(expected.names) == len(expected.boxes) > 0
    assert set(expected.names) <= {"circle", "square", "triangle"} and expected.masks is None
    for form in forms:
        (found,) = model(form)
        assert_same(found, expected)
    together = model(forms, batch_size=4)
    assert len(together) == len(forms)
    for found in together:
        assert_same(found, expected)
    assert model([]) == []


def test_gray_arrays_are_images(model):
    gray = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    assert_same(model(gray)[0], model(np.stack([gray] * 3, axis=2))[0])


@pytest.mark.parametrize("wrong", [3, np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), torch.zeros(4, 4), None])
def test_what_is_no_image_is_named(model, wrong):
    with pytest.raises(DataError, match=r"expected an image as path, .* got "):
        model(wrong)


def test_it_is_a_module_in_eval_mode_without_gradients(model):
    assert not model.training and not model.model.training
    assert next(model.parameters()).requires_grad
    assert not model(torch.zeros(3, 32, 32))[0].boxes.requires_grad
    assert isinstance(model.model, CenterNet) and model.step == 2
    assert model.facts["classes"] == ["circle", "square", "triangle"]


def test_a_file_and_a_preset_load_too(model, place, caplog):
    best = ldie.load(place / "runs/centernet/checkpoints/best.safetensors")
    image = place / "street.jpg"
    assert_same(best(image)[0], model(image)[0])
    with caplog.at_level(logging.WARNING, "ldie"):
        fresh = ldie.load("centernet:tiny", device="cpu")
    assert "centernet:tiny: fresh weights" in caplog.text
    assert fresh.facts["classes"][79] == "class 79" and fresh.step == 0
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: tiny"):
        ldie.load("centernet:huge")
    with pytest.raises(CheckpointError, match="no such file"):
        ldie.load("nowhere")


def test_a_model_stands_without_the_loop(place):
    """Networks alone: they export, and need no optimizer or runtime."""
    network = small_model().eval()
    images = [torch.randn(1, 3, 64 // 2**i, 64 // 2**i) for i in range(3)]
    exported = torch.export.export(network, (images,)).module()
    for a, b in zip(exported(images), network(images), strict=True):
        torch.testing.assert_close(tuple(a), tuple(b))
    assert not any("optim" in name or name == "runtime" for name in vars(network))


def test_areas_are_those_of_masks():
    square = [[[2.0, 2, 12, 2, 12, 7, 2, 7]], [[0.0, 0, 4, 0, 4, 4, 0, 4], [8.0, 8, 10, 8, 10, 10, 8, 10]]]
    boxes = torch.tensor([[2.0, 2, 12, 7], [0.0, 0, 10, 10]])
    found = Detections(
        boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), from_coco(square, (20, 20)), None, (20, 20),
        image=torch.zeros(3, 20, 20, dtype=torch.uint8), facts={"classes": ["a", "b"], "category_ids": [3, 7]},
    )  # fmt: skip
    annotations = found.to_coco(image_id=5)
    assert [(a["image_id"], a["category_id"], a["area"]) for a in annotations] == [(5, 3, 50), (5, 7, 20)]
    assert [a["bbox"] for a in annotations] == [[2, 2, 10, 5], [0, 0, 10, 10]]
    found.masks = None
    assert [a["area"] for a in found.to_coco()] == [50, 100]


def test_predict_takes_folders(place, tmp_path, capsys, monkeypatch):
    sizes = []
    original = CenterNet.predict

    def predict(self, inputs: list[torch.Tensor]) -> list[Prediction]:
        sizes.append(len(inputs))
        return original(self, inputs)

    monkeypatch.setattr(CenterNet, "predict", predict)
    run, images = str(place / "runs/centernet"), [str(place / "street.jpg"), str(place / "shapes/val2017")]
    assert main(["predict", run, *images, "--out", str(tmp_path), "--batch-size", "3", "--device", "cpu"]) == 0
    document = json.loads((tmp_path / "predictions.json").read_text())
    assert [Path(image["file_name"]).name for image in document["images"]] == [
        "street.jpg", "000001.png", "000002.png", "000003.png",
    ]  # fmt: skip
    assert sizes == [3, 1]
    assert len(list(tmp_path.glob("*.png"))) == 4
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.pdf").touch()
    assert main(["predict", run, str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert "no images in this folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
