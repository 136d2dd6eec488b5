"""The COCO reader: what it returns, and one clear line for everything that can be wrong with a data set."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, locate_data, open_splits, read_image
from ldie.tasks.detection.masks import to_bitmaps
from PIL import Image
from tasks.detection.coco_files import CONTENT, SQUARE, Content, message, write

from ldie_ext import RLE, Polygons


def open_data(name_or_dir: str | Path, work_dir: Path) -> list[CocoDataset]:
    return open_splits(locate_data(name_or_dir, work_dir), ["train2017", "val2017"])


def test_samples(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    dataset = CocoDataset(tmp_path, "train2017")
    assert len(dataset) == 2
    assert dataset.image_ids == [7, 3]
    assert dataset.class_names == ["person", "dog"]
    assert dataset.label_to_category_id == [1, 18]
    sample = dataset[0]
    assert sample.image.dtype == torch.uint8 and sample.image.shape == (3, 10, 12)
    assert sample.image[:, 0, 0].tolist() == [200, 100, 50]
    assert sample.boxes.tolist() == [[2, 2, 6, 6], [1.5, 0, 3.5, 3], [0, 0, 12, 10]]
    assert sample.labels.tolist() == [1, 0, 0]
    assert sample.iscrowd.tolist() == [False, False, True]
    bitmaps = to_bitmaps(sample.masks, sample.size)
    assert torch.equal(bitmaps[0], bitmaps[1]) and bitmaps[0].sum() == 16 and bitmaps[0, 2:6, 2:6].all()
    assert isinstance(sample.masks, RLE)  # one object is a crowd in run lengths
    assert sample.masks.counts[-3:].tolist() == [20, 30, 70] and sample.masks.sizes.tolist() == [[10, 12]] * 3
    assert sample.keypoints is None
    assert (sample.image_id, sample.size, sample.file_name) == (7, (10, 12), "a.png")


def test_images_without_objects_are_kept(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    sample = CocoDataset(tmp_path, "train2017")[1]
    assert len(sample) == 0
    assert sample.boxes.shape == (0, 4) and sample.labels.dtype == torch.int64 and sample.iscrowd.dtype == torch.bool
    assert isinstance(sample.masks, Polygons) and len(sample.masks) == 0


def test_keypoints_come_from_their_own_file(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    people = copy.deepcopy(CONTENT)
    people["categories"] = [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}]
    people["categories"][0]["skeleton"] = [[1, 2], [3, 1]]
    people["annotations"] = [people["annotations"][1] | {"keypoints": [1, 2, 2, 3, 4, 1, 0, 0, 0]}]
    path = write(tmp_path, people, kind="person_keypoints")
    dataset = CocoDataset(tmp_path, "train2017")
    assert dataset.keypoint_file == path
    assert dataset.keypoint_names == ("nose", "left_eye", "right_eye")
    assert dataset.flip_pairs == [(1, 2)]
    keypoints = dataset[0].keypoints
    assert keypoints[1].tolist() == [[1, 2, 2], [3, 4, 1], [0, 0, 0]]
    assert not keypoints[[0, 2]].any()
    assert dataset[1].keypoints.shape == (0, 3, 3)
    assert dataset.skeleton == ((0, 1), (2, 0))


def test_subset(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    dataset = CocoDataset(tmp_path, "train2017")
    part = dataset.subset([1])
    assert part.image_ids == [3] and part[0].image_id == 3
    assert len(dataset) == 2
    assert [annotation.id for annotation in dataset.objects(0)] == [1, 2, 3] and part.objects(0) == []


def test_masks_without_crowds_are_polygons(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    del content["annotations"][2]
    write(tmp_path, content)
    masks = CocoDataset(tmp_path, "train2017")[0].masks
    assert isinstance(masks, Polygons)
    assert masks.coords[:4].flatten().tolist() == SQUARE
    assert masks.instance_offsets.tolist() == [0, 1, 2]  # two points enclose nothing


def test_data_sets_without_masks(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    del content["annotations"][0]["segmentation"]
    write(tmp_path, content)
    dataset = CocoDataset(tmp_path, "train2017")
    assert [dataset[i].masks for i in (0, 1)] == [None, None]


def put(section: str, **values: Any) -> Callable[[Content], None]:
    return lambda content: content[section][0].update(values)


MALFORMED: list[tuple[Callable[[Content], object], str]] = [
    (lambda c: c.pop("annotations"), "has no list 'annotations'"),
    (lambda c: c.update(images={}), "has no list 'images'"),
    (lambda c: c.update(images=[], annotations=[]), "images is empty"),
    (lambda c: c.update(categories=[], annotations=[]), "categories is empty"),
    (lambda c: c["images"].insert(0, 5), "images[0]: expected an object, got 5"),
    (put("images", id="7"), "images[0]: id must be an integer, got '7'"),
    (put("images", id=3), "images[1] (id 3): the id is used twice"),
    (put("images", height=0), "images[0] (id 7): height and width must be positive, got 0 x 12"),
    (put("images", width=None), "width must be an integer, got nothing"),
    (put("images", file_name=""), "file_name must be a text"),
    (put("categories", name=3), "categories[0] (id 18): name must be a text, got 3"),
    (put("categories", keypoints="nose"), "keypoints must be a list of names"),
    (
        put("categories", keypoints=["a", "b"], skeleton=[[1, 3]]),
        "pairs of keypoints, 1 to 2, got",
    ),
    (
        put("categories", keypoints=["a", "b"], skeleton=[[0, 1]]),
        "pairs of keypoints, 1 to 2, got",
    ),
    (put("categories", skeleton="1-2"), "skeleton must be a list of pairs of keypoints, 1 to 0"),
    (put("annotations", image_id=99), "annotations[0] (id 1): image_id 99 is not among the images"),
    (put("annotations", category_id=99), "category_id 99 is not among the categories"),
    (put("annotations", bbox=[1, 2, -3, 4]), "bbox must be x, y, width >= 0, height >= 0, got [1, 2, -3, 4]"),
    (put("annotations", bbox=[1, 2, math.nan, 4]), "bbox must hold finite numbers, got [1, 2, nan, 4]"),
    (put("annotations", bbox=[1, 2, math.inf, 4]), "bbox must hold finite numbers"),
    (put("annotations", bbox=[1, 2, 10**400, 4]), "bbox must be a list of numbers"),
    (put("annotations", bbox=[1, 2, 3]), "bbox must be x, y, width"),
    (put("annotations", bbox=None), "bbox must be a list of numbers, got nothing"),
    (put("annotations", bbox=["a", 2, 3, 4]), "bbox must be a list of numbers"),
    (put("annotations", iscrowd=2), "iscrowd must be 0 or 1, got 2"),
    (put("annotations", segmentation="x"), "segmentation must be a list of polygons or a run-length object, got 'x'"),
    (put("annotations", segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "polygon must have an even number of coordinates"),
    (put("annotations", segmentation=[[1, 2, 3, 4, 5, math.nan]]), "polygon must hold finite numbers"),
    (put("annotations", segmentation=[1, 2, 3]), "polygon must be a list of numbers, got 1"),
    (
        put("annotations", segmentation={"size": [10, 12], "counts": [5]}),
        "run lengths: RLE counts add up to 5, the mask has 120 cells",
    ),
    (put("annotations", segmentation={"size": [5, 5], "counts": [25]}), "run lengths of size [5, 5] in an image of"),
    (put("annotations", keypoints=[1, 2, 2]), "keypoints must hold x, y, v for each of the 0 keypoints"),
    (put("images", id=10**64), "id must be an integer of at most 64 digits, got 1000"),
    (put("images", height=10**9, width=10**9), "height and width must be at most 1000000"),
    (put("images", height=10**6, width=10**6), "with at most 2147483647 pixels, got 1000000 x 1000000"),
    (put("annotations", bbox=[-121, 2, 3, 4]), "bbox reaches -121, but coordinates in an image of 10 x 12 pixels must"),
    (put("annotations", bbox=[2, 2, 1e9, 4]), "bbox reaches 1e+09, but"),
    (put("annotations", bbox=[0, 0, 1e39, 1]), "bbox reaches 1e+39, but coordinates"),
    (put("annotations", bbox=[119, 0, 2, 1]), "must lie within -120 to 120 (10 times its longer side)"),
    (put("annotations", segmentation=[[1, 1, 3, 1, 3, 1e8]]), "polygon reaches 1e+08, but coordinates"),
    (put("annotations", segmentation=[SQUARE, [1, 1, 3, -1e300, 3, 3]]), "polygon reaches -1e+300, but"),
    (put("annotations", area=-1), "area must be a finite number of at least 0, got -1"),
    (put("annotations", area=math.nan), "area must be a finite number of at least 0, got nan"),
    (put("annotations", area=10**400), "area must be a finite number of at least 0, got 1000"),
    (put("annotations", area="12"), "area must be a finite number of at least 0, got '12'"),
    (put("images", file_name="../a.png"), "leaves the folder"),
]


@pytest.mark.parametrize(("damage", "expected"), MALFORMED, ids=[text for _, text in MALFORMED])
def test_malformed_annotations(tmp_path: Path, damage: Callable[[Content], object], expected: str) -> None:
    content = copy.deepcopy(CONTENT)
    damage(content)
    path = write(tmp_path, content)
    text = message(lambda: CocoDataset(tmp_path, "train2017"))
    assert text.startswith(str(path)) and expected in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"images": [', "not valid JSON at line 1, column 13"),
        ("[]", "expected COCO's object with images, annotations and categories, got a list"),
        ("", "not valid JSON"),
        ('{"images": ' + "1" * 5000 + "}", "not a JSON text file (ValueError)"),
        ("[" * 100_000, "not a JSON text file (RecursionError)"),
    ],
)
def test_annotation_files_that_are_not_coco(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    found = message(lambda: CocoDataset(tmp_path, "train2017"))
    assert found.startswith(str(path)) and expected in found


def test_binary_annotation_file(tmp_path: Path) -> None:
    path = write(tmp_path, CONTENT)
    path.write_bytes(b"\xff\xfe\x00\xd8\xff\xff")
    assert message(lambda: CocoDataset(tmp_path, "train2017")).startswith(str(path))


def test_missing_parts(tmp_path: Path) -> None:
    assert "no such annotation file" in message(lambda: CocoDataset(tmp_path, "train2017"))
    write(tmp_path, CONTENT)
    (tmp_path / "train2017" / "b.png").unlink()
    text = message(lambda: CocoDataset(tmp_path, "train2017"))
    assert f"file_name 'b.png' of image 3: no such image in {tmp_path / 'train2017'}" in text
    (tmp_path / "train2017" / "a.png").unlink()
    (tmp_path / "train2017").rmdir()
    assert "no such folder" in message(lambda: CocoDataset(tmp_path, "train2017"))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, 30, 0):
        path.write_bytes(whole[:length])
        text = message(lambda: read_image(path))
        assert text.startswith(str(path)) and "not a readable image" in text
    path.unlink()
    assert message(lambda: read_image(path)).startswith(f"{path}: no such image")
    assert "not a readable image" in message(lambda: read_image(tmp_path))


def test_image_of_another_size(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    Image.new("RGB", (10, 12)).save(tmp_path / "train2017" / "a.png")
    dataset = CocoDataset(tmp_path, "train2017")
    text = message(lambda: dataset[0])
    assert "has 12 x 10 pixels" in text and "says 10 x 12" in text


def test_grayscale_and_palette_images(tmp_path: Path) -> None:
    Image.new("L", (12, 10), 77).save(tmp_path / "gray.png")
    assert torch.equal(read_image(tmp_path / "gray.png"), torch.full((3, 10, 12), 77, dtype=torch.uint8))
    Image.new("RGB", (12, 10), (255, 0, 0)).quantize(2).save(tmp_path / "palette.png")
    Image.fromarray(np.full((10, 12), 77 * 257, dtype=np.uint16)).save(tmp_path / "gray16.png")
    assert torch.equal(read_image(tmp_path / "gray16.png"), torch.full((3, 10, 12), 77, dtype=torch.uint8))
    assert read_image(tmp_path / "palette.png")[:, 0, 0].tolist() == [255, 0, 0]


def test_open_data_generates_by_name(tmp_path: Path) -> None:
    train, val = open_data("shapes-hard", tmp_path)
    assert (len(train), len(val)) == (500, 100)
    assert train.root == tmp_path / "shapes-hard" and train.keypoint_names
    assert locate_data("shapes-hard", tmp_path) == train.root


def test_open_data_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, CONTENT)
    other = copy.deepcopy(CONTENT)
    write(tmp_path, other, split="val2017")
    assert [data.split for data in open_data(tmp_path, tmp_path / "work")] == ["train2017", "val2017"]
    other["categories"][0]["name"] = "cat"
    write(tmp_path, other, split="val2017")
    assert "categories differ" in message(lambda: open_data(tmp_path, tmp_path / "work"))
    assert "no such folder; give shapes or shapes-hard" in message(lambda: open_data("shape", tmp_path))


def test_photographs(photographs: Path) -> None:
    splits = open_data(photographs, photographs)
    assert [len(split) for split in splits] == [57, 66]
    samples = [split[i] for split in splits for i in range(len(split))]
    assert sum(len(sample) for sample in samples) == 1117
    assert sum(int(sample.iscrowd.sum()) for sample in samples) == 14
    assert sum(int((sample.keypoints[..., 2] > 0).any(dim=1).sum()) for sample in samples) == 69
    assert len(splits[0].categories) == 80 and len(splits[0].flip_pairs) == 8
    polygons = [sample.masks for sample in samples if isinstance(sample.masks, Polygons)]
    assert len(polygons) == 123 - sum(int(sample.iscrowd.any()) for sample in samples)
    assert any((masks.instance_offsets.diff() > 1).any() for masks in polygons)


def test_photographs_masks_are_pycocotools(photographs: Path) -> None:
    dataset = CocoDataset(photographs, "val2017")
    coco = pytest.importorskip("pycocotools.coco").COCO(str(dataset.annotation_file))
    for sample in (dataset[i] for i in range(15)):
        entries = coco.imgToAnns[sample.image_id]
        for entry, mask in zip(entries, to_bitmaps(sample.masks, sample.size), strict=True):
            assert np.array_equal(mask, coco.annToMask(entry))
