# SPDX-License-Identifier: Apache-2.0
"""``ldie export``: files that find what ``ldie predict`` finds, or no file."""

from __future__ import annotations

import json
import re
import zipfile
from importlib import metadata
from pathlib import Path

import ldie
import pytest
import torch
from documents import ROOT, python_blocks, run_clean
from engine.command import error_line
from ldie.cli import main
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.export import torch_file, write
from ldie.systems.centernet import CenterNet
from ldie.tasks.detection.coco_classes import coco_facts
from PIL import Image
from systems.centernet.helpers import make_shapes, small_config

SIZE = (96, 128)


def lively_model() -> CenterNet:
    """Deformable convolutions, resized, cropped and padded scales, and boxes of many scores that overlap."""
    torch.manual_seed(0)
    config = small_config(
        model={"valid_scale": [0, 2], "detector": {"type": "resnet18", "widths": [8, 8]}},
        test={"crop_multiple": 16, "pad_multiple": 32, "nms_threshold": 0.6},
    )
    facts = {**coco_facts(), "classes": ["circle", "square", "triangle"], "category_ids": [1, 2, 3]}
    model = CenterNet.from_config(config, facts)
    heads = model.detector
    torch.nn.init.normal_(heads.ups[0][0][0].predict.weight, std=0.3)
    for head, spread in ((heads.heatmap, 2.0), (heads.wh, 0.5), (heads.offset, 0.2)):
        torch.nn.init.normal_(head[2].weight, std=spread)
    with torch.no_grad():
        for image in torch.randint(256, (20, 3, *SIZE), dtype=torch.uint8):
            maps = model._maps(image)[1]  # batch norms learn what their inputs are
        heads.heatmap[2].bias -= maps.heatmap.mean((0, 2, 3)) + 2
        heads.wh[2].bias += 5 - maps.wh.mean((0, 2, 3))
    model.eval()
    return model


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a run in runs/centernet, a data set, and street.jpg."""
    folder = tmp_path_factory.mktemp("place")
    make_shapes(folder)
    model = lively_model()
    header = checkpoint.Header("centernet", to_dict(model.config), dict(model.facts), step=7, versions={})
    checkpoint.save_weights(folder / "runs/centernet/checkpoints/best.safetensors", model.state_dict(), header)
    Image.open(folder / "shapes/val2017/000001.png").save(folder / "street.jpg")
    return folder


def export(place: Path, form: str, path: Path, *more: str) -> Path:
    arguments = ["export", str(place / "runs/centernet"), "--format", form, "--out", str(path), "--size", "96x128"]
    assert main([*arguments, *more]) == 0
    return path


@pytest.fixture(scope="module")
def onnx_file(place) -> Path:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime", minversion="1.25")  # the first with deformable convolutions
    return export(place, "onnx", place / "runs/centernet/best.onnx")


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What was said while the file below was written."""
    return []


@pytest.fixture(scope="module")
def torch_export_file(place, said) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write.logger, "info", lambda text, *values: said.append(text % values))
        return export(
            place, "torch.export", place / "runs/centernet/best.pt2", "--batch-size", "2", "--data", f"{place}/shapes"
        )


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Other images than those that the files were compared on."""
    return torch.randint(256, (2, 3, *SIZE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def predicted(place: Path, images: torch.Tensor) -> list[list[torch.Tensor]]:
    """What ``ldie predict`` finds, image by image: boxes, scores, labels."""
    model = ldie.load(place / "runs/centernet", device="cpu")
    return [[found.boxes, found.scores, found.labels] for found in model(list(images))]


def found_by(outputs) -> list[list[torch.Tensor]]:
    """The same of a graph's outputs; empty slots must be last and empty."""
    result = []
    for boxes, scores, labels in zip(*outputs, strict=True):
        count = int((labels >= 0).sum())
        assert (labels[count:] == -1).all() and not scores[count:].any() and not boxes[count:].any()
        result.append([torch.as_tensor(field[:count]) for field in (boxes, scores, labels)])
    return result


def test_onnxruntime_finds_what_predict_finds(place, onnx_file, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file)
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert [value.name for value in session.get_outputs()] == ["boxes", "scores", "labels"]
    for image, ours in zip(images, predicted(place, images), strict=True):
        outputs = session.run(None, {"images": image[None].numpy()})
        assert [output.shape for output in outputs] == [(1, 100, 4), (1, 100), (1, 100)]
        (theirs,) = found_by(outputs)
        assert 20 < len(ours[0]) < 100, "suppression has something to do"
        assert torch.equal(theirs[2], ours[2])
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-3)


def test_torch_export_finds_what_predict_finds(place, torch_export_file, images):
    graph = torch.export.load(torch_export_file).module()
    for theirs, ours in zip(found_by(graph(images)), predicted(place, images), strict=True):
        assert torch.equal(theirs[2], ours[2])
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_the_files_tell_what_they_are(onnx_file, torch_export_file):
    import onnx

    notes = {entry.key: entry.value for entry in onnx.load(onnx_file).metadata_props}
    assert json.loads(notes["classes"]) == ["circle", "square", "triangle"]
    assert notes["images"].startswith("uint8 [1, 3, 96, 128], RGB") and notes["step"] == "7"
    extra = {torch_file.NOTES: ""}
    torch.export.load(torch_export_file, extra_files=extra)
    others = json.loads(extra[torch_file.NOTES])
    assert others.keys() == notes.keys() and json.loads(notes["config"]) == others["config"]
    assert others["boxes"].startswith("float32 [2, 100, 4], x1 y1 x2 y2")
    assert others["config"]["input"]["mean"] == [0.470, 0.447, 0.408]
    assert others["versions"]["torch"] == torch.__version__


def test_the_files_hold_nothing_of_this_machine_and_no_discriminator(onnx_file, torch_export_file):
    with zipfile.ZipFile(torch_export_file) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    for content in (onnx_file.read_bytes(), b"".join(parts)):
        assert str(ROOT).encode() not in content and b"graph.py" not in content
        assert b"discriminator.trunk" not in content and b"extractors.0" in content


def test_it_says_how_near_the_file_is(torch_export_file, said):
    runner = f"torch {metadata.version('torch')}"
    assert [line.partition(":")[0] for line in said] == [
        f"the same in {runner}, on noise",
        f"the same in {runner}, on images of its data",
        "written",
    ]
    assert all(
        re.search(r"(\d+) of \1 detections the same, boxes within .* px, scores within", line) for line in said[:2]
    )
    assert not [path for path in torch_export_file.parent.iterdir() if path.suffix == ".tmp"]


def test_the_lines_of_the_document_run(place, onnx_file, torch_export_file):
    onnx, graph = (block for block in python_blocks(ROOT / "docs/export.md") if "runs/centernet" in block)
    run_clean(onnx, place)
    assert "'circle', 'square'" in run_clean(graph, place).replace('"', "'")


@pytest.mark.parametrize(
    "wrong",
    [["--size", "0x4"], ["--size", "640"], ["--size", "64x99999"], ["--format", "tflite"], ["--batch-size", "0"]],
)
def test_wrong_usage_is_refused(wrong, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["export", "run", "--format", "onnx", "--out", str(tmp_path / "x"), *wrong])
    assert stop.value.code == 2


def test_the_checkpoint_is_not_overwritten(place, capsys):
    path = place / "runs/centernet/checkpoints/best.safetensors"
    before = path.read_bytes()
    line = error_line(capsys, ["export", place / "runs/centernet", "--format", "torch.export", "--out", path])
    assert "--out must be another file than" in line and path.read_bytes() == before


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    line = error_line(capsys, ["export", tmp_path, "--format", "torch.export", "--out", tmp_path / "x.pt2"])
    assert str(tmp_path) in line and "checkpoint" in line
