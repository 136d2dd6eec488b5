# SPDX-License-Identifier: Apache-2.0
"""YOLO's and darknet's folders become COCO's layout, or one line says which file and line is wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from ldie.errors import UserError
from ldie.tasks.detection import CocoDataset, open_splits
from ldie.tasks.detection.formats import convert
from ldie.tasks.detection.formats.source import _free
from ldie.tasks.detection.masks import to_bitmaps
from PIL import Image
from tasks.detection.foreign import picture, text, yolo

BOX = "1 0.5 0.5 0.25 0.5"
TRIANGLE = "0 0.25 0.25 0.75 0.25 0.75 0.75"


def converted(root: Path, split: str = "train2017") -> CocoDataset:
    """A split found under its usual name, after a conversion."""
    out = root.parent / "out"
    convert(root, out)
    train, val = open_splits(out, ["train2017", "val2017"])
    return train if split == "train2017" else val


def refused(root: Path) -> str:
    """The message of a conversion that fails, and that it leaves nothing."""
    with pytest.raises(UserError) as caught:
        convert(root, root.parent / "out")
    message = str(caught.value)
    assert "\n" not in message and ";" in message and len(message) < 500
    assert not [path for path in root.parent.iterdir() if "out" in path.name]
    return message


def test_boxes(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": f"{BOX}\n0 0 0 0.1 0.1\n\n{BOX}\n", "b": "", "c": None})
    for split in ("train2017", "val2017"):
        dataset = converted(root, split) if split == "train2017" else CocoDataset(tmp_path / "out", split)
        assert dataset.class_names == ["cat", "dog"] and dataset.label_to_category_id == [0, 1]
        assert [len(dataset[i]) for i in range(3)] == [2, 0, 0]  # a line that is there twice counts once
        assert dataset[0].boxes.tolist() == [[15, 5, 25, 15], [-2, -1, 2, 1]]
        assert dataset[0].labels.tolist() == [1, 0] and dataset[0].size == (20, 40)
        assert not dataset.has_masks and dataset.keypoint_file is None


def test_outlines_become_masks(tmp_path: Path) -> None:
    dataset = converted(yolo(tmp_path / "set", {"a": TRIANGLE}))
    sample, (annotation,) = dataset[0], dataset.objects(0)
    assert sample.boxes.tolist() == [[10, 5, 30, 15]]
    assert [list(part) for part in annotation.segmentation] == [[10, 5, 30, 5, 30, 15]]
    assert annotation.area == int(to_bitmaps(sample.masks, (20, 40)).sum()) == pytest.approx(100, abs=16)


def test_an_image_of_boxes_and_outlines_has_both(tmp_path: Path) -> None:
    dataset = converted(yolo(tmp_path / "set", {"a": f"{BOX}\n{TRIANGLE}"}))
    assert len(dataset[0]) == 2 and not dataset.has_masks  # all have masks, or none is used


def test_keypoints_and_what_a_mirror_exchanges(tmp_path: Path) -> None:
    lines = f"{BOX} 0.5 0.5 2 0.45 0.5 1 0.3 0.3 0"
    dataset = converted(yolo(tmp_path / "set", {"a": lines}, more="kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]"))
    assert dataset[0].keypoints.tolist() == [[[20, 10, 2], [18, 10, 1], [0, 0, 0]]]
    assert dataset.flip_pairs == [(1, 2)] and dataset.objects(0)[0].num_keypoints == 2


def test_keypoints_without_visibility(tmp_path: Path) -> None:
    dataset = converted(yolo(tmp_path / "set", {"a": f"{BOX} 0.5 0.5 0 0"}, more="kpt_shape: [2, 2]"))
    assert dataset[0].keypoints.tolist() == [[[20, 10, 2], [0, 0, 0]]] and dataset.flip_pairs == []


def lists(root: Path) -> None:
    for split in ("train", "val"):
        text(root / f"{split}.txt", f"./images/{split}/a.png\n\nimages/{split}/b.png\n")
    text(root / "data.yaml", "train: train.txt\nval: [val.txt]\nnames: {0: cat, 1: dog}\nnc: 2\n")


def roboflow(root: Path) -> None:
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / split).mkdir(exist_ok=True)
            (root / kind / split).rename(root / split / kind)
    text(root / "data.yaml", "train: ../train/images\nval: ../val/images\nnc: 2\nnames: [cat, dog]\n")


def moved(root: Path) -> None:
    text(root / "mine.yml", "path: ../datasets/set\ntrain: images/train\nval: images/val\ntest:\nnames: [cat, dog]\n")
    (root / "data.yaml").unlink()


def darknet(root: Path) -> None:
    for split, name in (("train", "train"), ("val", "valid")):
        for file in [*(root / "images" / split).iterdir(), *(root / "labels" / split).iterdir()]:
            target = root / "obj" / f"{split}_{file.name}"
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
        text(root / f"{name}.txt", f"data/obj/{split}_a.png\ndata/obj/{split}_b.png\n")
    (root / "data.yaml").unlink()
    text(root / "obj.names", "cat\ndog\n")


@pytest.mark.parametrize("arrange", [lists, roboflow, moved, darknet])
def test_arrangements(arrange, tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX, "b": None})
    arrange(root)
    dataset = converted(root)
    assert [len(dataset[i]) for i in (0, 1)] == [1, 0] and dataset.class_names == ["cat", "dog"]


def test_the_yaml_file_itself(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    (root / "data.yaml").rename(root / "first.yaml")
    text(root / "second.yaml", "names: nothing of this")
    assert "neither data.yaml" in refused(root)  # which of them is not for us to say
    convert(root / "first.yaml", tmp_path / "out")
    assert len(CocoDataset(tmp_path / "out", "train")[0]) == 1


def test_images_are_linked_or_copied_and_their_source_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    source = root / "images" / "train" / "a.png"
    before = source.read_bytes()
    convert(root, tmp_path / "linked")
    assert (tmp_path / "linked" / "images" / "train" / "a.png").samefile(source)

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    convert(root, tmp_path / "copied")
    copy = tmp_path / "copied" / "images" / "train" / "a.png"
    assert not copy.samefile(source) and copy.read_bytes() == source.read_bytes() == before
    assert CocoDataset(tmp_path / "copied", "val")[0].boxes.tolist() == [[15, 5, 25, 15]]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, target: Path) -> None:
        if target.name == "b.png":
            raise OSError(28, "No space left on device")
        target.write_bytes(b"")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    root = yolo(tmp_path / "set", {"a": BOX, "b": BOX})
    assert (
        refused(root)
        == f"{tmp_path / 'out'}: cannot be written (No space left on device); free space or choose another folder"
    )


def test_two_images_of_one_name(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    picture(root / "more" / "a.png", (10, 10))
    text(root / "data.yaml", "train: [images/train, more]\nval: images/val\nnames: [cat, dog]\n")
    dataset = converted(root)
    assert [dataset[i].size for i in (0, 1)] == [(20, 40), (10, 10)]
    assert _free("b/A.png", {"b/a.png", "b/a_2.png"}) == "b/A_3.png"


def test_sizes_are_those_of_upright_images(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": "0 0.5 0.25 1 0.5"})
    exif = Image.Exif()
    exif[274] = 6
    for split in ("train", "val"):
        Image.new("RGB", (40, 20)).save(root / "images" / split / "a.png", exif=exif)
    sample = converted(root)[0]
    assert sample.size == (40, 20) and sample.image.shape == (3, 40, 20) and sample.boxes.tolist() == [[0, 0, 20, 20]]


WRONG_LINES = [
    ("2 0.5 0.5 0.1 0.1", "class must be a whole number from 0 to 1, got '2'"),
    ("cat 0.5 0.5 0.1 0.1", "expected finite numbers, got 'cat'"),
    ("0.5 0.5 0.5 0.1 0.1", "class must be a whole number"),
    ("0 0.5 0.5 0.1", "expected a class and 4 numbers of a box, or x and y of at least 3 corners, got 3 numbers"),
    ("0 0.5 0.5 0.1 0.1 0.2", "got 5 numbers"),
    ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "got 7 numbers"),
    ("0 20 10 4 4", "coordinates are parts of the image's width and height, 0 to 1, got 20"),
    ("0 0.5 0.5 -0.1 0.1", "0 to 1, got -0.1"),
    ("0 0.5 0.5 nan 0.1", "expected finite numbers, got 'nan'"),
    ("0 0.5 0.5 inf 0.1", "expected finite numbers, got 'inf'"),
    ("0 0.1 0.1 0.9 0.1 0.5 1.5", "0 to 1, got 1.5"),
    ("1" * 5000 + " 0.5 0.5 0.1 0.1", "expected finite numbers, got '111"),
    ("x" * 5000, "expected finite numbers"),
]


@pytest.mark.parametrize(("line", "reason"), WRONG_LINES, ids=[line[:30] for line, _ in WRONG_LINES])
def test_lines_that_are_no_objects(line: str, reason: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX, "b": f"{BOX}\n{line}\n"})
    message = refused(root)
    assert message.startswith(f"{root / 'labels' / 'train' / 'b.txt'}: line 2: ") and reason in message


def test_small_overshoots_of_rounding_are_none(tmp_path: Path) -> None:
    dataset = converted(yolo(tmp_path / "set", {"a": "0 0.5 0.5 1.000001 1.000001"}))
    assert torch.allclose(dataset[0].boxes, torch.tensor([[0.0, 0, 40, 20]]), atol=1e-3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (BOX, "expected a class and 10 numbers, got 4 numbers"),
        (f"{BOX} 0.5 0.5 3 0 0 0", "visibility must be 0, 1 or 2, got 3"),
        (f"{BOX} 0.5 5 2 0 0 0", "0 to 1, got 5"),
    ],
)
def test_lines_without_their_keypoints(line: str, reason: str, tmp_path: Path) -> None:
    assert reason in refused(yolo(tmp_path / "set", {"a": line}, more="kpt_shape: [2, 3]"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("train: images/train", "names must be a list of classes"),
        ("names: []\ntrain: images/train", "names must be a list of classes"),
        ("names: [on, dog]\ntrain: images/train", "put quotes around yes, no, on"),
        ("names: {1: cat, 2: dog}\ntrain: images/train", "names must be numbered from 0 on"),
        ("names: [cat, dog]\nnc: 3\ntrain: images/train", "nc is 3, but there are 2 names"),
        ("names: [cat, dog]", "names no images"),
        ("names: [cat, dog]\ntrain: images/training", "train: neither a folder nor a list of images"),
        ("names: [cat, dog]\ntrain: {a: b}", "train must be a folder or a list of images"),
        ("names: [cat, dog]\ntrain: [3]", "train must be a folder or a list of images"),
        ("names: [cat, dog]\ntrain: labels", "labels: has no images, and is to be train"),
        ("names: [cat, dog]\npath: 3\ntrain: images/train", "path must be a folder"),
        ("names: [cat, dog]\ntrain: images/train\nkpt_shape: 17", "kpt_shape must be the number of keypoints"),
        ("names: [cat, dog]\ntrain: images/train\nkpt_shape: [2, 4]", "kpt_shape must be"),
        ("names: [cat, dog]\ntrain: images/train\nkpt_shape: [2, 3]\nflip_idx: [0, 0]", "flip_idx must name each"),
        ("names: [cat\n", "not valid YAML"),
        ("names: [cat, dog]\ntrain: " + "x" * 5000, "neither a folder nor a list"),
    ],
)
def test_files_that_describe_no_data(content: str, reason: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    text(root / "data.yaml", content)
    message = refused(root)
    assert message.startswith(str(root)) and reason in message


def test_lists_that_lead_nowhere(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX, "b": None})
    lists(root)
    text(root / "val.txt", "images/val/a.png\nimages/val/c.png\n")
    assert refused(root).startswith(f"{root / 'val.txt'}: line 2: no such image 'images/val/c.png'; ")


def test_labels_in_another_place(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    (root / "labels").rename(root / "annotated")
    assert refused(root).startswith(f"{root / 'labels' / 'train' / 'a.txt'}: no such labels, nor of any other image")


def test_damaged_files(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX, "b": BOX})
    (root / "labels" / "val" / "b.txt").write_bytes(b"\xff\xfe\x00")
    assert refused(root).startswith(f"{root / 'labels' / 'val' / 'b.txt'}: not text in UTF-8")
    (root / "images" / "val" / "b.png").write_bytes(b"<html>")
    assert refused(root).startswith(f"{root / 'images' / 'val' / 'b.png'}: not a readable image")


def test_folders_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(root / "images"))

    monkeypatch.setattr(Path, "rglob", refuse)
    assert refused(root) == f"{root / 'images'}: cannot be read (Permission denied); make it readable"


def test_images_that_no_annotation_file_may_have(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    Image.new("1", (1_000_001, 1)).save(root / "images" / "train" / "a.png")
    message = refused(root)
    assert message.startswith(f"{tmp_path / 'out' / 'annotations' / 'instances_train.json'}: images[0]")


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    assert "is in COCO's layout, it seems" in refused(tmp_path / "set")
    (tmp_path / "set" / "annotations").rmdir()
    assert "neither data.yaml (YOLO), nor obj.names (darknet), nor Annotations/" in refused(tmp_path / "set")
    assert "no such folder" in refused(tmp_path / "elsewhere")
    picture(tmp_path / "picture.png")
    assert "not a YAML file" in refused(tmp_path / "picture.png")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"a": BOX})
    text(tmp_path / "out" / "thesis.txt", "years of work")
    for out in (tmp_path / "out", tmp_path / "out" / "thesis.txt"):
        with pytest.raises(UserError, match="exists already; remove it or choose another folder"):
            convert(root, out)
    with pytest.raises(UserError, match="cannot be written"):
        convert(root, tmp_path / "out" / "thesis.txt" / "below")
    (tmp_path / "empty").mkdir()
    convert(root, tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["annotations", "images"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
