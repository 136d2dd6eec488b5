# SPDX-License-Identifier: Apache-2.0
"""The lines of docs/datasets.md: from a YOLO folder to a picture of what a model found."""

import json
import re
import shlex
from pathlib import Path

import ldie
from documents import ROOT, python_blocks, run_clean
from ldie.cli import main
from ldie.tasks.detection import CocoDataset, build_shapes
from PIL import Image

SHORT = """
solver.max_iter=2 solver.batch_size=2 solver.detector.init_train_iter=2 solver.data.heatmap_size=16
model.detector.widths=[8,8] model.detector.input_channel=8 model.detector.head_channel=8
dataset.categories=circle,square dataset.drop_empty=true
"""


def write_yolo(root: Path, data: CocoDataset, split: str) -> None:
    """A split in YOLO's layout, as JPEG files with numbers for names."""
    for folder in ("images", "labels"):
        (root / folder / split).mkdir(parents=True)
    for i, image in enumerate(data.images):
        with Image.open(data.image_dir / image.file_name) as picture:
            picture.save(root / "images" / split / f"{i}.jpg")
        lines = []
        for item in data.objects(i):
            x, y, width, height = item.box
            values = ((x + width / 2) / 128, (y + height / 2) / 128, width / 128, height / 128)
            lines.append(" ".join(map(str, (item.category_id - 1, *values))))
        (root / "labels" / split / f"{i}.txt").write_text("\n".join(lines))


def test_the_lines_of_the_document_run(tmp_path, monkeypatch):
    shapes = build_shapes(tmp_path / "shapes", train=6, val=3)
    for split in ("train", "val"):
        write_yolo(tmp_path / "pets", CocoDataset(shapes, f"{split}2017"), split)
    names = "[circle, square, triangle]"
    (tmp_path / "pets" / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```bash\n(.*?)^```", (ROOT / "docs" / "datasets.md").read_text(), re.DOTALL | re.MULTILINE)
    convert, train = (shlex.split(line)[1:] for line in block.splitlines())
    assert main(convert) == 0
    original, converted = CocoDataset(shapes, "val2017"), CocoDataset(tmp_path / "pets-coco", "val2017")
    for i in range(3):
        assert converted[i].boxes.sub(original[i].boxes).abs().sum() < 0.01
        assert converted[i].labels.equal(original[i].labels)
    assert main([*train, "--device", "cpu", "--set", *SHORT.split()]) == 0
    facts = ldie.load("runs/centernet", device="cpu").model.facts
    assert facts["classes"] == ["circle", "square"] and facts["category_ids"] == [0, 1]
    (code,) = python_blocks(ROOT / "docs" / "datasets.md")
    run_clean(code, tmp_path)
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.size == (384, 384)
    assert main(["eval", "runs/centernet", "--device", "cpu"]) == 0  # on the classes that were learned
    detections = json.loads((tmp_path / "runs" / "centernet" / "eval" / "detections.json").read_text())
    assert {item["category_id"] for item in detections} <= {0, 1}
