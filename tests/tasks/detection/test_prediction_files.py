# SPDX-License-Identifier: Apache-2.0
"""Files of predictions: of images as people see them, and none at all unless every image can be read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import DataError, DetectionModel, Prediction
from ldie.tasks.detection.prediction_files import write_predictions
from PIL import Image
from torch import Tensor, nn


class FindsRed(DetectionModel):
    """Finds one object: what is red."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(200.0))
        self.facts = {"classes": ["red"], "category_ids": [7]}

    @classmethod
    def from_config(cls, config: object, facts: object) -> FindsRed:
        return cls()

    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        found = []
        for image in inputs:
            rows, columns = (image[0] > self.threshold).nonzero().unbind(dim=1)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes = torch.tensor([[float(value) for value in box]])
            size = (image.shape[1], image.shape[2])
            found.append(Prediction(boxes, torch.ones(1), torch.tensor([0]), None, None, size))
        return found


def predict(*paths: Path, out: Path) -> dict:
    write_predictions(FindsRed(), paths, out, batch_size=2, min_score=0.5)
    return json.loads((out / "predictions.json").read_text())


def photo(path: Path, orientation: int = 1) -> Path:
    """120 high and 80 wide, red in the first 30 rows, as the sensor stores it."""
    upright = np.zeros((120, 80, 3), dtype=np.uint8)
    upright[:30, :, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.rot90(upright, {1: 0, 6: 1, 8: 3, 3: 2}[orientation]).copy()).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photo_is_predicted_upright(tmp_path: Path, orientation: int) -> None:
    document = predict(photo(tmp_path / "a.png", orientation), out=tmp_path / "out")
    assert [(image["height"], image["width"]) for image in document["images"]] == [(120, 80)]
    assert [annotation["bbox"] for annotation in document["annotations"]] == [[0, 0, 80, 30]]
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.height == 1.5 * picture.width and picture.getexif() == {}


def test_nothing_is_written_unless_every_image_can_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: not a readable image \(no regular file\)"):
        predict(photo(tmp_path / "a.png"), tmp_path / "pipe.png", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_path_that_the_system_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"a: cannot be read \(File name too long\)"):
        predict(Path("a" * 5000), out=tmp_path / "out")

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); make it readable"):
        predict(tmp_path, out=tmp_path / "out")


def test_pictures_of_one_name_are_numbered(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        paths.append(photo(tmp_path / folder / "x.png"))
    predict(*paths, out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "predictions.json",
        "x.png",
        "x_2.png",
        "x_3.png",
    ]
