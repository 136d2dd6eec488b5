# SPDX-License-Identifier: Apache-2.0
"""``ldie export`` and ``ldie benchmark``: one graph that grows masks, in two formats; the stages of inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ldie
import pytest
import torch
from documents import ROOT, python_blocks, run_clean
from ldie.cli import main
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.export import torch_file
from ldie.systems.mask_pyramid import MaskPyramid
from ldie.tasks.detection import Prediction
from PIL import Image
from systems.mask_pyramid.helpers import small_model
from torch import Tensor, nn

import ldie_ext

SIZE = (50, 70)
"""Neither the network's own size nor a multiple of what batches are filled up to."""
INSIDE, FILLED = (64, 90), (64, 96)
"""What the network makes of it: resized, and filled up."""
SLOTS = 8


def sure_model(**sections: Any) -> MaskPyramid:
    """Untrained, but sure of many objects and their masks where an image has contrast."""
    test = {"detections": SLOTS, "update_threshold": 0.02, **sections.pop("test", {})}
    model = small_model(input={"longest": 128}, test=test, **sections)
    for layer in model.growth.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    nn.init.normal_(model.score.classes.weight, std=2.0)
    return model


def some_images() -> list[Tensor]:
    """Other images than those that files are compared on: of much contrast and of little."""
    lively = torch.randint(256, (2, 3, *SIZE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    return [lively[0], lively[1] // 8]


def save_run(folder: Path, **sections: Any) -> Path:
    """A run of the model."""
    model = sure_model(**sections)
    header = checkpoint.Header("mask_pyramid", to_dict(model.config), dict(model.facts), step=7, versions={})
    checkpoint.save_weights(folder / "checkpoints/best.safetensors", model.state_dict(), header)
    return folder


def exported(run: Path, form: str, batch: int) -> Path:
    """A file for so many images."""
    out = run / ("best.onnx" if form == "onnx" else "best.pt2")
    options = ["--format", form, "--size", "50x70", "--batch-size", str(batch), "--out", str(out)]
    assert main(["export", str(run), *options]) == 0
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two levels, as recording takes seconds for each."""
    model = {"start_stride": 8, "growth": {"max_alive": [12, 10], "newborns": [4]}}
    return save_run(tmp_path_factory.mktemp("place") / "runs/pyramid", model=model)


def drawn(maps: Tensor) -> Tensor:
    """The masks in the image of a graph's masks."""
    return ldie_ext.composite_masks(maps, SIZE, between=FILLED, crop=INSIDE)


def check_slots(outputs: list[Tensor], ours: Prediction, tolerance: float, apart: int) -> None:
    """One image's outputs are the prediction, and nothing behind it."""
    count = len(ours.scores)
    assert count > 2
    boxes, scores, labels, maps = (field[:count] for field in outputs)
    assert torch.equal(labels, ours.labels)
    torch.testing.assert_close((boxes, scores), (ours.boxes, ours.scores), rtol=0, atol=tolerance)
    different = drawn(maps) ^ ldie_ext.rle_decode(ours.masks, size=SIZE)
    assert different.sum() <= apart
    assert (outputs[2][count:] == -1).all() and not any(outputs[i][count:].any() for i in (0, 1, 3))


def test_the_file_finds_what_predict_finds(run: Path) -> None:
    """One batch grows together in both, so that nothing is rounded in another way; and the document's lines run."""
    out, images = exported(run, "torch.export", 2), some_images()
    notes = {torch_file.NOTES: ""}
    graph = torch.export.load(out, extra_files=notes).module()
    assert json.loads(notes[torch_file.NOTES])["masks"] == (
        f"float32 [2, {SLOTS}, 16, 24], over 64 x 96 pixels, the upper left 64 x 90 of which are the image: "
        "probabilities that it is the object"
    )
    outputs = graph(torch.stack(images))
    assert [tuple(output.shape) for output in outputs] == [
        (2, SLOTS, 4), (2, SLOTS), (2, SLOTS), (2, SLOTS, 16, 24)
    ]  # fmt: skip
    for index, found in enumerate(ldie.load(run, device="cpu")(images, 2)):
        check_slots([output[index] for output in outputs], found, tolerance=1e-6, apart=0)
    place = run.parents[1]
    Image.new("RGB", (90, 80), (10, 200, 50)).save(place / "street.jpg")
    (code,) = (block for block in python_blocks(ROOT / "docs/export.md") if "runs/pyramid" in block)
    code = code.replace("(480, 640)", str(SIZE))
    code = code.replace("image[None]", "image.expand(2, -1, -1, -1)")
    assert "tensor" in run_clean(code, place)


def test_onnxruntime_finds_what_predict_finds(run: Path) -> None:
    """Two images at a time, as the file is compared with predict, and others one by one."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported(run, "onnx", 2))
    assert [value.name for value in session.get_outputs()] == ["boxes", "scores", "labels", "masks"]
    images = some_images()
    outputs = [torch.from_numpy(output) for output in session.run(None, {"images": torch.stack(images).numpy()})]
    for index, found in enumerate(ldie.load(run, device="cpu")(images, 1)):
        check_slots([output[index] for output in outputs], found, tolerance=1e-3, apart=2)


VARIANTS: dict[str, dict[str, Any]] = {
    "first, multiply, paint": {
        "model": {"mask": {"generation": 1, "gauss_mode": "multiply"}, "growth": {"min_spawn": 2}},
        "test": {"paint": True},
    },
    "classes, softmax, guide, greedy": {
        "model": {
            "mask": {"class_masks": True, "offsets": True, "gauss_kind": "sigma"},
            "growth": {"coverage": "softmax", "guide": True, "topk_keep": 2},
            "score": {"iou_head": True, "root_power": 0.5},
        },
        "test": {"nms": "greedy", "nms_threshold": 0.3, "min_pixels": 100},
    },
    "not all levels": {"solver": {"stage": {"levels": 2, "steps": 5}}},
}


@pytest.mark.parametrize("sections", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_graph_is_predict(sections: dict[str, Any]) -> None:
    """Whatever the configuration, the same objects, though its masks are neither packed nor made a few at a time."""
    model, images = sure_model(**sections), some_images()
    graph = model.graph(SIZE).eval()
    with torch.no_grad():
        ours, theirs = model.predict(images), graph.read(graph(torch.stack(images)))
    assert all(len(found.scores) > 0 for found in ours)
    for mine, found in zip(ours, theirs, strict=True):
        assert torch.equal(mine.boxes, found.boxes) and torch.equal(mine.labels, found.labels)
        torch.testing.assert_close(mine.scores, found.scores, rtol=0, atol=1e-6)
        assert torch.equal(mine.masks.counts, found.masks.counts)


def test_stages_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a run, over image files; every stage of inference has its share."""
    folder = save_run(tmp_path / "run")
    out, image = tmp_path / "report.json", tmp_path / "photo.png"
    Image.new("RGB", (64, 48)).save(image)
    options = ["--images", str(image), "--batch-size", "2", "--repeats", "1", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", str(folder), *options]) == 0
    stages = json.loads(out.read_text())["stages"]
    expected = ["read", "input", "backbone", "growth", "scores", "suppression", "drawing"]
    assert [stage["name"] for stage in stages] == expected
    calls = {stage["name"]: stage["calls"] for stage in stages}
    assert calls["growth"] == 1 and calls["drawing"] == 2 and all(stage["ms"] > 0 for stage in stages)
    assert "mask_pyramid, step 7" in capsys.readouterr().out
