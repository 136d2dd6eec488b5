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
from ldie.errors import ExportError
from ldie.export import torch_file
from ldie.systems.solo import SOLO
from ldie.systems.solo import postprocess as steps
from ldie.tasks.detection import Prediction
from ldie.tasks.detection.agreement import agreement
from PIL import Image
from systems.rcnn.helpers import facts_of
from systems.solo.helpers import small_config
from torch import Tensor, nn

import ldie_ext

SIZE = (50, 70)
"""Neither the network's own size nor a multiple of what batches are filled up to."""
INSIDE, FILLED = (64, 90), (64, 96)
"""What the network makes of it: resized, and filled up."""
SLOTS = 40


def sure_model(**sections: Any) -> SOLO:
    """Untrained, but sure of many objects and their masks where an image has contrast.

    Its norms are constants, so that in :data:`FLAT` it sees nothing.
    """
    torch.manual_seed(0)
    test = {"detections": SLOTS, "nms_pre": 150, "update_threshold": 0.02, **sections.pop("test", {})}
    head = {"normalization": "none", **sections.pop("head", {})}
    config = small_config(
        model={"backbone": {"normalization": "batch"}, "head": head}, input={"longest": 128}, test=test, **sections
    )
    model = SOLO.from_config(config, facts_of(config)).eval()
    for conv in (*model.head.cls_convs, *model.head.mask_convs):
        nn.init.kaiming_normal_(conv.weight)
    nn.init.normal_(model.head.conv_cls.weight, std=1.0)
    nn.init.constant_(model.head.conv_cls.bias, -4.0)
    for last in model.head.conv_mask_list:
        nn.init.normal_(last.weight, std=2.0)
    return model


FLAT = torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None].expand(3, *SIZE)
"""An image of what becomes 0."""


def some_images() -> list[Tensor]:
    """Other images than those that files are compared on: of much contrast, of little, of none."""
    lively = torch.randint(256, (2, 3, *SIZE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    return [lively[0], lively[1] // 8, FLAT]


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
    options = ["--size", "50x70", "--batch-size", "2", "--out", str(folder / "best.pt2")]
    assert main(["export", str(folder), "--format", "torch.export", *options]) == 0
    return folder


def drawn(maps: Tensor) -> Tensor:
    """The masks in the image of a graph's masks."""
    return ldie_ext.composite_masks(maps, SIZE, between=FILLED, crop=INSIDE)


def check_slots(outputs: list[Tensor], ours: Prediction, tolerance: float, apart: int) -> None:
    """One image's outputs are the prediction, and nothing behind it."""
    count = len(ours.scores)
    boxes, scores, labels, maps = (field[:count] for field in outputs)
    assert torch.equal(labels, ours.labels)
    torch.testing.assert_close((boxes, scores), (ours.boxes, ours.scores), rtol=0, atol=tolerance)
    different = drawn(maps) ^ ldie_ext.rle_decode(ours.masks, size=SIZE)
    assert different.sum() <= apart
    assert (outputs[2][count:] == -1).all() and not any(outputs[i][count:].any() for i in (0, 1, 3))


def predicted(run: Path, images: list[Tensor], batch: int) -> list[Prediction]:
    """What ``ldie predict`` finds."""
    found = ldie.load(run, device="cpu")(images, batch)
    counts = [len(image.scores) for image in found]
    none, some, all_slots = sorted(set(counts))
    assert none == 0 and 0 < some < all_slots == SLOTS, counts
    return found


def test_the_file_finds_what_predict_finds(run: Path) -> None:
    """One batch goes through the networks in both, so that nothing is rounded in another way."""
    images = [*some_images(), FLAT]
    ours = predicted(run, images, 2)
    notes = {torch_file.NOTES: ""}
    graph = torch.export.load(run / "best.pt2", extra_files=notes).module()
    assert json.loads(notes[torch_file.NOTES])["masks"] == (
        f"float32 [2, {SLOTS}, 16, 24], over 64 x 96 pixels, the upper left 64 x 90 of which are the image: "
        "probabilities that it is the object"
    )
    shapes = [(2, SLOTS, 4), (2, SLOTS), (2, SLOTS), (2, SLOTS, 16, 24)]
    for first in (0, 2):
        outputs = graph(torch.stack(images[first : first + 2]))
        assert [tuple(output.shape) for output in outputs] == shapes
        for index, found in enumerate(ours[first : first + 2]):
            check_slots([output[index] for output in outputs], found, tolerance=1e-6, apart=0)
    masks = ldie_ext.rle_decode(ours[0].masks, size=SIZE)
    assert masks.flatten(1).any(1).all() and 0.1 < masks.float().mean() < 0.9


def test_onnxruntime_finds_what_predict_finds(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "best.onnx"
    assert main(["export", str(run), "--format", "onnx", "--size", "50x70", "--out", str(out)]) == 0
    session = onnxruntime.InferenceSession(out)
    assert [value.name for value in session.get_outputs()] == ["boxes", "scores", "labels", "masks"]
    images = some_images()
    for image, ours in zip(images, predicted(run, images, 1)):
        outputs = [torch.from_numpy(output)[0] for output in session.run(None, {"images": image[None].numpy()})]
        check_slots(outputs, ours, tolerance=1e-3, apart=2)


def test_greedy_suppression_has_no_onnx_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    folder = save_run(tmp_path / "run", head={"convs": 1}, test={"nms": "greedy"})
    out = tmp_path / "best.onnx"
    line = error_line(capsys, ["export", folder, "--format", "onnx", "--size", "64x64", "--out", out])
    assert line == "ldie: this model has no ONNX form, nor have ldie_ext.mask_nms; use --format torch.export"
    assert not out.exists()


def test_files_are_compared_by_masks() -> None:
    """Rounding may exchange objects of nearly equal scores and move a box far, but makes no other mask."""
    masks = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0)) > 0.5

    def prediction(masks: Tensor, scores: list[float]) -> Prediction:
        drawn = ldie_ext.rle_encode(masks)
        boxes = ldie_ext.rle_to_boxes(drawn)
        return Prediction(boxes, torch.tensor(scores), torch.zeros(3, dtype=torch.int64), drawn, None, (30, 40))

    tolerance = sure_model().graph(SIZE).tolerance
    ours = prediction(masks, [0.9, 0.898, 0.2])
    moved = masks[[1, 0, 2]].clone()
    moved[2, :, 38:] = False
    assert "3 of 3" in agreement([ours], [prediction(masks[[1, 0, 2]], [0.899, 0.897, 0.201])], 5, 0.05, tolerance)
    with pytest.raises(ExportError, match=r"another mask for label 0, score 0\.200"):
        agreement([ours], [prediction(moved, [0.899, 0.897, 0.201])], 5, 0.05, tolerance)
    with pytest.raises(ExportError, match=r"does not find label 0, score 0\.200"):
        agreement([ours], [prediction(masks, [0.9, 0.898, 0.22])], 5, 0.05, tolerance)


VARIANTS: dict[str, dict[str, Any]] = {
    "softmax": {"head": {"category": "softmax", "sigmoid_after_up": False, "align_corners": True}},
    "before": {"head": {"upsample_pos": "before", "strides": (4, 8, 16)}, "test": {"points_nms": 0}},
    "greedy": {"test": {"nms": "greedy", "points_nms": 3, "maskness": False, "nms_threshold": 0.3}},
    "linear": {"test": {"kernel": "linear", "min_area": "stride", "min_pixels": 400, "mask_threshold": 0.6}},
}


@pytest.mark.parametrize("sections", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_graph_is_predict(sections: dict[str, Any]) -> None:
    """Whatever the configuration, the same objects, though its masks are neither packed nor made a few at a time."""
    model, images = sure_model(**sections), some_images()[:2]
    graph = model.graph(SIZE).eval()
    with torch.no_grad():
        ours, theirs = model.predict(images), graph.read(graph(torch.stack(images)))
    assert all(len(found.scores) > 0 for found in ours)
    for mine, found in zip(ours, theirs, strict=True):
        assert torch.equal(mine.boxes, found.boxes) and torch.equal(mine.labels, found.labels)
        torch.testing.assert_close(mine.scores, found.scores, rtol=0, atol=1e-6)
        assert torch.equal(mine.masks.counts, found.masks.counts)
        assert (ldie_ext.rle_area(mine.masks) >= model.config.test.min_pixels).all()


def test_packed_and_dense_shapes_are_the_same() -> None:
    """Of more places than are computed together, some of which have several categories."""
    model = sure_model(test={"score_thr": 0.02, "points_nms": 0, "nms_pre": 150})
    frame = steps.Frame(FILLED, INSIDE, SIZE)
    with torch.no_grad():
        outlook = model(torch.randn(2, 3, *FILLED))
        found = steps.candidates(outlook, 1, model.config)
        packed, dense = (
            make(model.head, outlook, 1, found, frame, model.config)
            for make in (steps.packed_shapes, steps.dense_shapes)
        )
    assert max(map(len, found.places)) > steps._AT_ONCE and len(found.scores) == 150 > len(packed.maps)
    torch.testing.assert_close(packed.maps, dense.maps)
    assert torch.equal(packed.areas, dense.areas) and torch.equal(unpacked(packed), dense.masks)
    torch.testing.assert_close(packed.sums, dense.sums)


def unpacked(shapes: steps.Shapes) -> Tensor:
    """Bool [U,h,w]."""
    bits = (shapes.masks[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.flatten(2)[..., : shapes.width].bool()


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
