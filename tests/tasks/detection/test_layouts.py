# SPDX-License-Identifier: Apache-2.0
"""Splits are found in the folders of the usual tools, and images under the names that other systems gave them."""

from __future__ import annotations

import copy
import json
import unicodedata
from pathlib import Path

import pytest
from ldie.tasks.detection import CocoDataset
from PIL import Image
from tasks.detection.coco_files import CONTENT, message

FOLDERS = [
    ("annotations/instances_val2017.json", "val2017"),
    ("annotations/instances_val2017.json", "images/val2017"),
    ("annotations/instances_val2017.json", "images"),
    ("annotations/val2017.json", "images/val2017"),
    ("val2017/_annotations.coco.json", "val2017"),
    ("val2017/labels.json", "val2017/data"),
]


def place(root: Path, annotation_file: str, folder: str, names: tuple[str, str] = ("a.png", "b.png")) -> None:
    """A data set whose two images are listed under ``names`` and stand in a folder as a.png and b.png."""
    content = copy.deepcopy(CONTENT)
    for entry, name, file in zip(content["images"], names, ("a.png", "b.png")):
        entry["file_name"] = name
        picture(root / folder / file)
    path = root / annotation_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10)).save(path)


@pytest.mark.parametrize(("annotation_file", "folder"), FOLDERS, ids=[" ".join(pair) for pair in FOLDERS])
def test_layouts(tmp_path: Path, annotation_file: str, folder: str) -> None:
    place(tmp_path, annotation_file, folder)
    dataset = CocoDataset(tmp_path, "val2017")
    assert dataset.annotation_file == tmp_path / annotation_file and dataset.image_dir == tmp_path / folder
    assert [dataset[i].image.shape for i in (0, 1)] == [(3, 10, 12)] * 2


@pytest.mark.parametrize(("annotation_file", "folder"), [FOLDERS[0], FOLDERS[-1]])
def test_the_folder_that_is_missing_is_named(tmp_path: Path, annotation_file: str, folder: str) -> None:
    place(tmp_path, annotation_file, folder)
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    text = message(lambda: CocoDataset(tmp_path, "val2017"))
    assert text.startswith(f"{tmp_path / folder}: no such folder; put the images of ")


def test_names_relative_to_the_data_set(tmp_path: Path) -> None:
    place(tmp_path, "annotations/instances_val2017.json", "val2017", names=("val2017/a.png", "./val2017/b.png"))
    dataset = CocoDataset(tmp_path, "val2017")
    assert dataset.image_dir == tmp_path and len(dataset[0].image) == len(dataset[1].image) == 3


@pytest.mark.parametrize(("split", "name"), [("train2017", "train"), ("val2017", "val"), ("val2017", "valid")])
def test_the_usual_names_are_found_unasked(tmp_path: Path, split: str, name: str) -> None:
    place(tmp_path, f"{name}/_annotations.coco.json", name)
    assert CocoDataset(tmp_path, split).split == name
    place(tmp_path, f"annotations/instances_{split}.json", split)
    assert CocoDataset(tmp_path, split).split == split  # what is asked for goes first


def test_what_is_looked_for_and_what_is_there_is_named(tmp_path: Path) -> None:
    text = message(lambda: CocoDataset(tmp_path, "val2017"))
    assert text.startswith(f"{tmp_path / 'annotations' / 'instances_val2017.json'}: no such annotation file, nor ")
    assert "nor annotations/val2017.json, val2017/_annotations.coco.json, val2017/labels.json; a data set needs" in text
    for name in ("val", "valid", "test"):
        place(tmp_path, f"{name}/_annotations.coco.json", name)
    place(tmp_path, "annotations/instances_default.json", "images")
    text = message(lambda: CocoDataset(tmp_path, "val2017"))  # of two that may be meant none is taken
    assert text.endswith("; name a split that is there: default, test, val, valid")


@pytest.mark.parametrize("name", ["data.yaml", "obj.names", "Annotations/a.xml"])
def test_folders_of_other_formats_are_for_convert(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    text = message(lambda: CocoDataset(tmp_path, "val2017"))
    assert text.endswith(f"; ldie convert {tmp_path} --out DIR makes a folder with them")


@pytest.mark.parametrize("split", ["x" * 5000, "x/" * 3000, "a\0b", "\x1b[31m\n", "\ud800", ""])
def test_splits_that_no_file_can_have(tmp_path: Path, split: str) -> None:
    text = message(lambda: CocoDataset(tmp_path, split))
    assert "no such annotation file" in text and len(text) < 700 and text.isprintable()


NAMES = [
    ("fold\\a.png", "fold/a.png"),
    (".\\fold\\a.png", "fold/a.png"),
    (unicodedata.normalize("NFC", "Höhe/a.png"), unicodedata.normalize("NFD", "Höhe/a.png")),
    (unicodedata.normalize("NFD", "Höhe\\a.png"), unicodedata.normalize("NFC", "Höhe/a.png")),
]


@pytest.mark.parametrize(("listed", "there"), NAMES, ids=["back slash", "dot", "composed", "decomposed"])
def test_names_of_other_systems(tmp_path: Path, listed: str, there: str) -> None:
    place(tmp_path, "annotations/instances_val2017.json", "val2017", names=(listed, "b.png"))
    picture(tmp_path / "val2017" / there)
    assert (tmp_path / "val2017" / CocoDataset(tmp_path, "val2017")[0].file_name).samefile(tmp_path / "val2017" / there)


def test_a_name_with_a_back_slash_of_its_own(tmp_path: Path) -> None:
    place(tmp_path, "annotations/instances_val2017.json", "val2017", names=("odd\\name.png", "b.png"))
    picture(tmp_path / "val2017" / "odd\\name.png")
    assert CocoDataset(tmp_path, "val2017")[0].file_name == "odd\\name.png"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fold\\lost.png", "no such image in"),
        ("fold\\lost.png", "with slashes for its back slashes neither"),
        ("..\\a.png", "leaves the folder"),
        ("../a.png", "leaves the folder"),
        ("/a.png", "leaves the folder"),
        ("x" * 5000, "no such image in"),
        ("a\0.png", "no such image in"),
        ("\ud800.png", "file_name '\\ud800.png' of image"),
    ],
)
def test_names_that_lead_nowhere(tmp_path: Path, name: str, reason: str) -> None:
    for names in ((name, "b.png"), ("a.png", name)):
        place(tmp_path, "annotations/instances_val2017.json", "val2017", names=names)
        text = message(lambda: CocoDataset(tmp_path, "val2017"))
        assert reason in text and f"of image {7 if names[0] == name else 3}" in text
        assert len(text) < 1000
