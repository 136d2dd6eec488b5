# SPDX-License-Identifier: Apache-2.0
"""Damaged YOLO and Pascal VOC folders are converted into something that loads, or refused in one line."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from ldie.errors import UserError
from ldie.tasks.detection import CocoDataset
from ldie.tasks.detection.formats import convert
from tasks.detection.foreign import voc, voc_object, yolo

INSERTED = [
    b"\0",
    b"\xff",
    b"<",
    b"&x;",
    b"-",
    b"1e400",
    b"nan",
    b"{",
    b"[",
    b": ",
    b"\n",
    b" ",
    b"../",
    b"9" * 400,
    b"]]>",
]


def make_voc(root: Path) -> list[Path]:
    voc(
        root, {"a": voc_object("cat", (1, 1, 40, 20), "<difficult>1</difficult>"), "b": voc_object("dog", (2, 3, 4, 5))}
    )
    return [*(root / "Annotations").iterdir(), *(root / "ImageSets" / "Main").iterdir()]


def make_yolo(root: Path) -> list[Path]:
    yolo(root, {"a": "0 .5 .5 .2 .2 .5 .5 2\n1 .1 .1 .2 .2 .1 .1 0", "b": None}, more="kpt_shape: [1, 3]\nnc: 2\n")
    return [root / "data.yaml", *(root / "labels").rglob("*.txt")]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bytes replaced, left out or repeated."""
    for _ in range(rng.randint(1, 2)):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice([0, 1, 5, 20]))
        content = content[:start] + rng.choice([*INSERTED, b"", content[start:end] * 2]) + content[end:]
    return content


@pytest.mark.parametrize("make", [make_voc, make_yolo])
def test_damaged_folders(make, tmp_path: Path) -> None:
    rng = random.Random(7)
    files = make(tmp_path / "set")
    whole = {file: file.read_bytes() for file in files}
    outcomes = {"converted": 0, "refused": 0}
    for trial in range(120):
        file = rng.choice(files)
        file.write_bytes(damaged(whole[file], rng))
        out = tmp_path / f"out{trial}"
        try:
            splits = convert(tmp_path / "set", out)
            for split in splits:
                dataset = CocoDataset(out, split)
                assert all(len(dataset[i].boxes) == len(dataset.objects(i)) for i in range(len(dataset)))
            outcomes["converted"] += 1
        except UserError as error:
            text = str(error)
            assert "\n" not in text and len(text) < 600 and not out.exists(), text
            outcomes["refused"] += 1
        shutil.rmtree(out, ignore_errors=True)
        file.write_bytes(whole[file])
    assert min(outcomes.values()) > 4, outcomes
