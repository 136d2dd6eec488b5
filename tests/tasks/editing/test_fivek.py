# SPDX-License-Identifier: Apache-2.0
"""MA5k-Req's files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.published.fivek import FiveK
from PIL import Image
from tasks.editing.published_folders import fivek, picture

RECORDS = [
    {"input": "0001_O.jpg", "output": "0001_A.jpg", "request": "Brighten it.", "request_idx": [1, 2, 0]},
    {"input": "0001_O.jpg", "output": "0001_B.jpg", "request": "more contrast"},
    {"input": "0001_O.jpg", "output": "0001_A.jpg", "request": "Brighten it."},
]


def test_a_sample_is_a_request(tmp_path: Path) -> None:
    dataset = FiveK(fivek(tmp_path, train=RECORDS), "train")
    assert len(dataset) == 3 and list(dataset.requests()) == [record["request"] for record in RECORDS]
    samples = [dataset[index] for index in range(3)]
    assert [sample.request for sample in samples] == list(dataset.requests())
    assert len({sample.key for sample in samples}) == 3
    sample = samples[1]
    assert sample.source.dtype == torch.uint8 and sample.source.shape == (3, 6, 8)
    assert sample.region is None and sample.steps is None and sample.operators == frozenset()
    assert dataset.operators == () and str(tmp_path) in dataset.origin


def test_colours_are_rgb_upright_and_whole(tmp_path: Path) -> None:
    """Whatever the file has: gray, a palette, an orientation, an alpha channel."""
    root = fivek(tmp_path, test=[{"input": "a.png", "output": "b.png", "request": "red"}])
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[0, 0], colours[1, 2] = (255, 10, 20), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, clockwise
    Image.fromarray(colours).save(root / "images" / "a.png", exif=exif)
    Image.fromarray(colours).convert("RGBA").save(root / "images" / "b.png")
    sample = FiveK(root, "test")[0]
    assert sample.source.shape == (3, 3, 2) and sample.source[:, 0, 1].tolist() == [255, 10, 20]
    assert sample.target.shape == (3, 3, 2)  # a target has its source's size
    Image.fromarray(colours).save(root / "images" / "a.png")
    sample = FiveK(root, "test")[0]
    assert sample.source[:, 0, 0].tolist() == [255, 10, 20] and sample.target[:, 1, 2].tolist() == [0, 0, 255]
    assert torch.equal(sample.source, sample.target)


def test_size(tmp_path: Path) -> None:
    """Whatever the aspect; a picture that is half black and half white is gray where it has one pixel."""
    root = fivek(tmp_path, train=RECORDS)
    halves = np.zeros((4, 8, 3), np.uint8)
    halves[:, 4:] = 255
    Image.fromarray(halves).save(root / "images" / "0001_A.jpg", quality=100, subsampling=0)
    sample = FiveK(root, "train", size=4)[0]
    assert sample.source.shape == sample.target.shape == (3, 4, 4)
    assert FiveK(root, "train", size=1)[0].target.flatten().tolist() == pytest.approx([128] * 3, abs=1)
    with pytest.raises(ConfigError, match="size"):
        FiveK(root, "train", size=0)


def test_what_is_left_out_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [
        *RECORDS,
        {"input": "0002_O.gif", "output": "0002_A.jpg", "request": "x"},
        {"input": "0002_O.jpg", "output": "0002_A.GIF", "request": "x"},
        {"input": "0003_O.jpg", "output": "0003_A.jpg", "request": "  "},
        {"input": "0003_O.jpg", "output": "0003_A.jpg", "request": float("nan")},
        {"input": "0003_O.jpg", "output": "0003_A.jpg", "request": ["one", None, "two"]},
    ]
    root = fivek(tmp_path, train=records)
    with caplog.at_level(logging.INFO, "ldie"):
        dataset = FiveK(root, "train")
        for index in range(len(dataset)):
            _ = dataset[index]
    assert len(dataset) == 5 and dataset.skipped == {"pairs with a .gif": 2, "requests without a text": 3}
    assert [line.message for line in caplog.records] == [
        f"{dataset.origin}: left out: 2 pairs with a .gif, 3 requests without a text"
    ]
    assert [dataset[index].request for index in (3, 4)] == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "not valid JSON at line 1, column 3"),
        ("{}", "expected a list of records, got a dict"),
        ("[3]", "record 0: expected an object, got 3"),
        ("[]", "has no pairs"),
        (json.dumps([{**RECORDS[0], "input": 5}]), "record 0: input must be a file's name, got 5"),
        (json.dumps([{**RECORDS[0], "output": ".."}]), "record 0: output must be a file's name"),
        (json.dumps([{"input": "0001_O.jpg", "output": "0001_A.jpg"}]), "record 0: has no request"),
        ('[{"input": "a.jpg", "input": "b.jpg", "output": "c.jpg"}]', "the key 'input' has the values"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    root = fivek(tmp_path, train=RECORDS)
    (root / "annotations" / "train_sess_1.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        FiveK(root, "train")
    assert "train_sess_1.json" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_missing(tmp_path: Path) -> None:
    root = fivek(tmp_path, train=RECORDS)
    with pytest.raises(ConfigError, match="split must be one of train, val, test"):
        FiveK(root, "trial")
    (root / "images" / "0001_B.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images are missing \(0001_B.jpg\)"):
        FiveK(root, "train")
    (root / "annotations" / "val_sess_1.json").unlink()
    with pytest.raises(DataError, match="no such annotation file"):
        FiveK(root, "val")
    with pytest.raises(DataError, match=r"images: no such folder"):
        FiveK(tmp_path / "elsewhere", "train", splits=root / "annotations")


def test_a_picture_that_is_none_is_named_when_it_is_read(tmp_path: Path) -> None:
    root = fivek(tmp_path, train=RECORDS)
    (root / "images" / "0001_B.jpg").write_bytes(b"\xff\xd8 broken")
    dataset: Any = FiveK(root, "train")
    with pytest.raises(DataError, match=r"0001_B.jpg: not a readable image"):
        dataset[1]
    with pytest.raises(IndexError):
        dataset[3]


def test_splits_elsewhere(tmp_path: Path) -> None:
    root = fivek(tmp_path / "data", train=RECORDS)
    picture(root / "images" / "0009_O.jpg")
    other = fivek(tmp_path / "other", train=[{"input": "0009_O.jpg", "output": "0001_A.jpg", "request": "x"}])
    assert list(FiveK(root, "train", splits=other / "annotations").requests()) == ["x"]
