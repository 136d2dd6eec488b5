# SPDX-License-Identifier: Apache-2.0
"""``ldie export`` and ``ldie benchmark``: one graph with masks, in two formats; the stages of inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ldie
import pytest
import torch
from documents import ROOT, python_blocks, run_clean
from engine.command import error_line
from ldie.cli import main
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.export import torch_file
from ldie.systems.solo import SOLO
from ldie.systems.solo import postprocess as steps
from ldie.tasks.detection import Prediction
from PIL import Image
from systems.rcnn.helpers import facts_of
from systems.solo.helpers import CLASSES, small_config
from torch import Tensor, nn

import ldie_ext

SIZE = (50, 70)
"""Neither the network's own size nor a multiple of what batches are filled up to."""
INSIDE, FILLED = (64, 90), (64, 96)
"""What the network makes of it: resized, and filled up."""
SLOTS = 25


def sure_model(**sections: Any) -> SOLO:
    """Untrained, but sure of many objects and their masks."""
    torch.manual_seed(0)
    test = {"detections": SLOTS, "nms_pre": 150, "update_threshold": 0.02, **sections.pop("test", {})}
    config = small_config(input={"longest": 128}, test=test, **sections)
    model = SOLO.from_config(config, facts_of(config)).eval()
    last = model.head.conv_cls
    for weight in (last.weight, *(conv.weight for conv in model.head.conv_mask_list)):
        nn.init.normal_(weight, std=0.2)
    nn.init.constant_(last.bias, -2.0)
    return model


def some_images(number: int = 2, seed: int = 5) -> Tensor:
    """The second of them is nearly black."""
    images = torch.randint(256, (number, 3, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    images[1:2] //= 8
    return images


def save_run(folder: Path, **sections: Any) -> Path:
    """A run of the model."""
    model = sure_model(**sections)
    header = checkpoint.Header("solo", to_dict(model.config), dict(model.facts), step=7, versions={})
    checkpoint.save_weights(folder / "checkpoints/best.safetensors", model.state_dict(), header)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run, and its file of torch.export for two images."""
    folder = save_run(tmp_path_factory.mktemp("place") / "runs/solo")
    options = ["--size", "x".join(map(str, SIZE)), "--batch-size", "2", "--out", str(folder / "best.pt2")]
    assert main(["export", str(folder), "--format", "torch.export", *options]) == 0
    return folder


def drawn(maps: Tensor) -> Tensor:
    """The masks in the image of a graph's masks."""
    return ldie_ext.composite_masks(maps, SIZE, between=FILLED, crop=INSIDE)


def check_slots(outputs: list[Tensor], ours: Prediction, tolerance: float, apart: int) -> None:
    """One image's outputs are the prediction, and nothing behind it."""
    count = len(ours)
    boxes, scores, labels, maps = (field[:count] for field in outputs)
    assert torch.equal(labels, ours.labels)
    torch.testing.assert_close((boxes, scores), (ours.boxes, ours.scores), rtol=0, atol=tolerance)
    different = drawn(maps) ^ ldie_ext.rle_decode(ours.masks, size=SIZE)
    assert different.sum() <= apart
    assert (outputs[2][count:] == -1).all() and not any(outputs[i][count:].any() for i in (0, 1, 3))


def test_the_file_finds_what_predict_finds(run: Path) -> None:
    """On images that it was not compared on; bit for bit, as one batch goes through the networks in both."""
    images = some_images()
    ours = ldie.load(run, device="cpu")(list(images), 2)
    counts = [len(found) for found in ours]
    assert 0 < min(counts) < SLOTS, counts
    outputs = torch.export.load(run / "best.pt2").module()(images)
    assert [tuple(output.shape) for output in outputs] == [(2, SLOTS, 4), (2, SLOTS), (2, SLOTS), (2, SLOTS, 16, 24)]
    for index, found in enumerate(ours):
        check_slots([output[index] for output in outputs], found, tolerance=1e-6, apart=0)
        masks = drawn(outputs[3][index, : len(found)])
        assert masks.any() and not masks.all()


def test_the_file_tells_what_it_gives(run: Path) -> None:
    extra = {torch_file.NOTES: ""}
    torch.export.load(run / "best.pt2", extra_files=extra)
    notes = json.loads(extra[torch_file.NOTES])
    assert notes["system"] == "solo" and len(notes["classes"]) == CLASSES
    assert notes["masks"] == (
        f"float32 [2, {SLOTS}, 16, 24], over 64 x 96 pixels, the upper left 64 x 90 of which are the image: "
        "probabilities that it is the object"
    )


def test_onnxruntime_finds_what_predict_finds(run: Path, tmp_path: Path) -> None:
    """Also in an image in which there is nothing."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "best.onnx"
    assert main(["export", str(run), "--format", "onnx", "--size", "50x70", "--out", str(out)]) == 0
    session = onnxruntime.InferenceSession(out)
    assert [value.name for value in session.get_outputs()] == ["boxes", "scores", "labels", "masks"]
    images = some_images()
    for image, ours in zip(images, ldie.load(run, device="cpu")(list(images))):
        outputs = [torch.from_numpy(output)[0] for output in session.run(None, {"images": image[None].numpy()})]
        check_slots(outputs, ours, tolerance=1e-3, apart=2)


@pytest.mark.parametrize("form", ["torch.export", "onnx"])
def test_a_graph_finds_nothing(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No candidate at all: all that comes after has no rows, in both formats."""
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    folder = save_run(tmp_path / "run", test={"score_thr": 1.0})
    options = ["--format", form, "--size", "32x48", "--out", str(tmp_path / "file")]
    assert main(["export", str(folder), *options]) == 0


def test_greedy_suppression_has_no_onnx_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    folder = save_run(tmp_path / "run", test={"nms": "greedy"})
    out = tmp_path / "best.onnx"
    line = error_line(capsys, ["export", folder, "--format", "onnx", "--size", "64x64", "--out", out])
    assert line == "ldie: this model has no ONNX form, nor have ldie_ext.mask_nms; use --format torch.export"
    assert not out.exists()


VARIANTS: list[dict[str, Any]] = [
    {"model": {"head": {"category": "softmax", "sigmoid_after_up": False, "align_corners": True}}},
    {"model": {"head": {"upsample_pos": "before", "strides": (4, 8, 16)}}, "test": {"points_nms": 0}},
    {"test": {"nms": "greedy", "points_nms": 3, "maskness": False}},
    {"test": {"kernel": "linear", "min_area": "stride", "min_pixels": 400, "mask_threshold": 0.6}},
]


@pytest.mark.parametrize("sections", VARIANTS, ids=["softmax", "before", "greedy", "linear"])
def test_the_graph_is_predict(sections: dict[str, Any]) -> None:
    """Whatever the configuration: the same objects bit for bit, though its masks are neither packed nor in parts."""
    model, images = sure_model(**sections), some_images()
    graph = model.graph(SIZE).eval()
    with torch.no_grad():
        ours, theirs = model.predict(list(images)), graph.read(graph(images))
    assert any(len(found) for found in ours)
    for mine, found in zip(ours, theirs, strict=True):
        torch.testing.assert_close((mine.boxes, mine.labels), (found.boxes, found.labels), rtol=0, atol=0)
        torch.testing.assert_close(mine.scores, found.scores, rtol=0, atol=1e-6)
        assert torch.equal(mine.masks.counts, found.masks.counts)


def test_packed_and_dense_shapes_are_the_same() -> None:
    """Of more places than are computed together, some of which have several categories."""
    model = sure_model(test={"score_thr": 0.02, "points_nms": 0, "nms_pre": 200})
    frame = steps.Frame(FILLED, INSIDE, SIZE)
    with torch.no_grad():
        outlook = model(torch.randn(2, 3, *FILLED))
        found = steps.candidates(outlook, 1, model.config)
        packed, dense = (
            make(model.head, outlook, 1, found, frame, model.config)
            for make in (steps.packed_shapes, steps.dense_shapes)
        )
    assert max(map(len, found.places)) > steps._AT_ONCE and len(found.scores) == 200 > len(packed.maps)
    assert torch.equal(torch.cat(list(found.places)).sort().values.unique(), torch.cat(list(found.places)).unique())
    torch.testing.assert_close(packed.maps, dense.maps)
    assert torch.equal(packed.areas, dense.areas)
    torch.testing.assert_close(packed.sums, dense.sums)
    bits = (packed.masks[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
    assert packed.width == 24 and torch.equal(bits.flatten(2).bool(), dense.masks)


def test_the_lines_of_the_document_run(run: Path) -> None:
    place = run.parents[1]
    picture = torch.randint(256, (90, 80, 3), dtype=torch.uint8)
    Image.fromarray(picture.numpy()).save(place / "street.jpg")
    (code,) = (block for block in python_blocks(ROOT / "docs/export.md") if "runs/solo" in block)
    code = code.replace("(480, 640)", str(SIZE)).replace("image[None]", "image.expand(2, -1, -1, -1)")
    code = code.replace("(800, 1088)", str(FILLED)).replace("(800, 1067)", str(INSIDE))
    assert "tensor" in run_clean(code, place)


def test_stages_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a run, over image files; every stage of inference has its share."""
    folder = save_run(tmp_path / "run")
    out, image = tmp_path / "report.json", tmp_path / "photo.png"
    Image.new("RGB", (64, 48)).save(image)
    options = ["--images", str(image), "--batch-size", "2", "--repeats", "1", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", str(folder), *options]) == 0
    stages = json.loads(out.read_text())["stages"]
    expected = ["read", "input", "networks", "candidates", "mask maps", "suppression", "drawing"]
    assert [stage["name"] for stage in stages] == expected
    calls = {stage["name"]: stage["calls"] for stage in stages}
    assert calls["networks"] == 1 and calls["drawing"] == 2 and all(stage["ms"] > 0 for stage in stages)
    assert "solo, step 7" in capsys.readouterr().out
