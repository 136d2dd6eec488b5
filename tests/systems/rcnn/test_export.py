# SPDX-License-Identifier: Apache-2.0
"""``ldie export`` and ``ldie benchmark``: one graph with masks and keypoints, the stages of inference."""

from __future__ import annotations

import json
from pathlib import Path

import ldie
import pytest
import torch
from documents import ROOT, python_blocks, run_clean
from engine.command import error_line
from ldie.cli import main
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.export import torch_file
from ldie.systems.rcnn import RCNN
from ldie.systems.rcnn.config import Convention
from PIL import Image
from systems.rcnn.helpers import CLASSES, POINTS, facts_of, small_config
from torch import Tensor

import ldie_ext

SIZE = (50, 70)
"""Neither the network's own size nor a multiple of what batches are filled up to."""
SLOTS = 30


def save_run(folder: Path, convention: Convention) -> Path:
    """A run whose networks are untrained, but sure of many objects and their masks."""
    torch.manual_seed(0)
    config = small_config(
        model={"convention": convention}, test={"detections": SLOTS, "score_threshold": 0.6, "nms_threshold": 0.4}
    )
    model = RCNN.from_config(config, facts_of(config))
    heads = model.roi_heads
    torch.nn.init.normal_(heads.box_predictor.cls_score.weight, std=1.0)
    torch.nn.init.normal_(heads.mask_head.predictor.weight, std=1.0)
    header = checkpoint.Header("rcnn", to_dict(model.config), dict(model.facts), step=7, versions={})
    checkpoint.save_weights(folder / "checkpoints/best.safetensors", model.state_dict(), header)
    return folder


@pytest.fixture(scope="module", params=["torchvision", "detectron2"])
def run(request, tmp_path_factory) -> Path:
    """A run, and its file of torch.export for two images."""
    folder = save_run(tmp_path_factory.mktemp("place") / "runs/rcnn", request.param)
    options = ["--size", "x".join(map(str, SIZE)), "--batch-size", "2", "--out", str(folder / "best.pt2")]
    assert main(["export", str(folder), "--format", "torch.export", *options]) == 0
    return folder


def test_the_file_finds_what_predict_finds(run: Path) -> None:
    """On images that it was not compared on, one of which has fewer objects than there are slots."""
    images = torch.randint(256, (2, 3, *SIZE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    images[1] //= 8
    predictor = ldie.load(run, device="cpu")
    ours = predictor(list(images))
    counts = [len(found) for found in ours]
    assert 0 < min(counts) < SLOTS, counts
    outputs = torch.export.load(run / "best.pt2").module()(images)
    shapes = [(4,), (), (), (14, 14), (POINTS, 3)]
    assert [tuple(output.shape) for output in outputs] == [(2, SLOTS, *shape) for shape in shapes]
    convention = predictor.model.config.model.convention
    for found, count, *fields in zip(ours, counts, *outputs, strict=True):
        boxes, scores, labels, masks, keypoints = (field[:count] for field in fields)
        torch.testing.assert_close((boxes, scores, labels), (found.boxes, found.scores, found.labels))
        torch.testing.assert_close(keypoints, found.keypoints)
        drawn = ldie_ext.paste_masks(masks, boxes, SIZE, convention=convention)
        assert torch.equal(drawn, ldie_ext.rle_decode(found.masks, size=SIZE)) and drawn.any() and not drawn.all()
        assert (fields[2][count:] == -1).all()
        assert not any(field[count:].any() for field in (*fields[:2], *fields[3:]))


ONE = pytest.mark.parametrize("run", ["detectron2"], indirect=True, scope="module")


@ONE
def test_the_file_tells_what_it_gives(run: Path) -> None:
    extra = {torch_file.NOTES: ""}
    torch.export.load(run / "best.pt2", extra_files=extra)
    notes = json.loads(extra[torch_file.NOTES])
    assert notes["system"] == "rcnn" and len(notes["classes"]) == CLASSES
    assert notes["masks"].startswith(f"float32 [2, {SLOTS}, 14, 14], over the box: probabilities")
    assert notes["keypoints"].startswith(f"float32 [2, {SLOTS}, {POINTS}, 3], x and y as indices of pixels")


@ONE
def test_there_is_no_onnx_form(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    out = tmp_path / "best.onnx"
    line = error_line(capsys, ["export", run, "--format", "onnx", "--size", "64x64", "--out", out])
    assert line.startswith("ldie: this model has no ONNX form, nor have ldie_ext.batched_nms, ldie_ext.decode_boxes, ")
    assert "ldie_ext.select_proposals" in line and line.endswith("; use --format torch.export")
    assert not any(tmp_path.iterdir())


def test_heads_that_are_not_there_give_nothing() -> None:
    config = small_config(model={"mask_head": {"enabled": False}, "keypoint_head": {"enabled": False}})
    model = RCNN.from_config(config, facts_of(config)).eval()
    exportable = model.exportable(None, 1)
    assert exportable.outputs == ("boxes", "scores", "labels") and not {"masks", "keypoints"} & set(exportable.facts)
    assert exportable.examples[0].inputs[0].shape == (1, 3, 64, 64)  # the side that the network looks at
    with torch.no_grad():
        outputs: tuple[Tensor, ...] = exportable.graph(*exportable.examples[0].inputs)
    assert exportable.examples[0].compare(outputs).endswith("the same, boxes within 0 px, scores within 0")


@ONE
def test_the_lines_of_the_document_run(run: Path) -> None:
    place = run.parents[1]
    picture = torch.randint(256, (90, 80, 3), dtype=torch.uint8)
    Image.fromarray(picture.numpy()).save(place / "street.jpg")
    (code,) = (block for block in python_blocks(ROOT / "docs/export.md") if "runs/rcnn" in block)
    code = code.replace("(480, 640)", str(SIZE)).replace("image[None]", "image.expand(2, -1, -1, -1)")
    assert "tensor" in run_clean(code, place)


def test_stages_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a run, over image files; every stage of inference has its share."""
    folder = save_run(tmp_path / "run", "detectron2")
    out, image = tmp_path / "report.json", tmp_path / "photo.png"
    Image.new("RGB", (64, 48)).save(image)
    options = ["--images", str(image), "--batch-size", "2", "--repeats", "1", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", str(folder), *options]) == 0
    report = json.loads(out.read_text())
    names = [stage["name"] for stage in report["stages"]]
    assert names == ["read", "input", "backbone", "proposals", "heads", "results"]
    assert all(stage["calls"] == 1 and stage["ms"] > 0 for stage in report["stages"])
    assert "rcnn, step 7" in capsys.readouterr().out
