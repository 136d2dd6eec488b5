# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC's folders become COCO's layout, or one line says which file and line is wrong; XML is never obeyed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine.command import error_line
from ldie.cli import main
from ldie.tasks.detection import CocoDataset
from ldie.tasks.detection.formats import convert
from ldie.tasks.detection.masks import to_bitmaps
from ldie.tasks.detection.metrics import coco_metrics
from PIL import Image
from tasks.detection.coco_files import perfect
from tasks.detection.foreign import picture, text, voc, voc_object
from tasks.detection.test_yolo import refused

CAT, DOG = voc_object("cat", (1, 1, 40, 20)), voc_object("dog", (11, 6, 20, 15))


def converted(root: Path, split: str = "train") -> CocoDataset:
    if not (root.parent / "out").exists():
        convert(root, root.parent / "out")
    return CocoDataset(root.parent / "out", split)


def test_boxes_count_pixels_from_one_and_hold_the_last(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG + CAT, "b": ""})
    train, val = converted(root), converted(root, "val")
    assert train.class_names == val.class_names == ["cat", "dog"] and train.label_to_category_id == [1, 2]
    assert [image.file_name for image in train.images] == ["a.png", "b.png"] and len(val) == 1
    assert train[0].boxes.tolist() == [[10, 5, 20, 15], [0, 0, 40, 20]] and train[0].labels.tolist() == [1, 0]
    assert len(train[1]) == 0 and not train.has_masks
    assert sorted(path.name for path in (tmp_path / "out" / "annotations").iterdir()) == [
        "instances_train.json",  # and none of the list of one class
        "instances_val.json",
    ]


def test_difficult_objects_are_not_looked_for(tmp_path: Path) -> None:
    hard = voc_object("dog", (21, 1, 30, 20), "<difficult>1</difficult>")
    dataset = converted(voc(tmp_path / "set", {"a": DOG.replace("</name>", "</name><difficult>0</difficult>") + hard}))
    sample = dataset[0]
    assert sample.iscrowd.tolist() == [False, True]
    easy = coco_metrics(dataset, {1: perfect(sample)})  # perfect leaves crowds out: not finding it costs nothing
    both = perfect(sample)
    both.boxes, both.scores = sample.boxes, both.scores.repeat(2)
    both.labels = sample.labels
    assert easy["bbox/AP"] == coco_metrics(dataset, {1: both})["bbox/AP"] == pytest.approx(1)


def test_what_is_beside_objects_does_not_matter(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part><pose>Left</pose><truncated>1</truncated>"
    dataset = converted(voc(tmp_path / "set", {"a": voc_object("dog", (10.5, 6, 20, 15), part)}))
    assert dataset.class_names == ["dog"] and dataset[0].boxes.tolist() == [[9.5, 5, 20, 15]]


def test_coordinates_of_tools_that_count_from_zero(tmp_path: Path) -> None:
    dataset = converted(voc(tmp_path / "set", {"a": voc_object("dog", (0, 0, 41, 21))}))
    assert dataset[0].boxes.tolist() == [[0, 0, 40, 20]]


@pytest.mark.parametrize("size", ["<width>0</width><height>0</height>", None])
def test_sizes_that_the_image_knows_better(size: str | None, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG})
    file = root / "Annotations" / "a.xml"
    content = file.read_text()
    end = content.index("</size>")
    start = content.index("<size>")
    text(file, content[:start] + (f"<size>{size}</size>" if size else "") + content[end + 7 :])
    assert converted(root)[0].size == (20, 40)


def test_images_by_another_name_than_the_annotation_says(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG, "b": CAT, "c": CAT})
    for name, said in {"a": "C:\\mine\\a.jpg", "b": "elsewhere.png"}.items():
        file = root / "Annotations" / f"{name}.xml"
        text(file, file.read_text().replace(f"{name}.png", said))
    picture(root / "JPEGImages" / "c.bmp")  # the one that is named wins
    names = [image.file_name for image in converted(root).images]
    assert names == ["a.png", "b.png", "c.png"]


def segmentation(root: Path, name: str, pixels: np.ndarray) -> None:
    file = root / "SegmentationObject" / f"{name}.png"
    file.parent.mkdir(exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8))
    image.putpalette([value for i in range(256) for value in (i, 0, 0)])
    image.save(file)


def test_masks_of_objects_by_their_number(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG + CAT, "b": ""})
    pixels = np.zeros((20, 40))
    pixels[5:15, 10:20] = 1
    pixels[0:5, :] = 2
    pixels[16, :] = 255  # nobody's
    segmentation(root, "a", pixels)
    dataset = converted(root)
    bitmaps = to_bitmaps(dataset[0].masks, (20, 40)).numpy()
    assert (bitmaps[0] == (pixels == 1)).all() and (bitmaps[1] == (pixels == 2)).all()
    assert [item.area for item in dataset.objects(0)] == [100, 200]


def test_masks_of_some_images_are_used_where_all_have_them(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"b": CAT, "a": DOG})
    segmentation(root, "a", np.ones((20, 40)))
    text(root / "ImageSets" / "Segmentation" / "train.txt", "a\n")
    boxes, masks = converted(root), converted(root, "segmentation_train")
    assert not boxes.has_masks and boxes.objects(1)[0].area == 100  # of the box
    assert masks.has_masks and masks.objects(0)[0].area == 800
    assert masks.class_names == boxes.class_names == ["cat", "dog"]


def test_an_object_without_pixels_has_an_empty_mask(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG + CAT})
    segmentation(root, "a", np.full((20, 40), 2))
    dataset = converted(root)
    assert to_bitmaps(dataset[0].masks, (20, 40)).sum((1, 2)).tolist() == [0, 800] and dataset.has_masks


def test_masks_that_are_none(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG})
    segmentation(root, "a", np.ones((4, 40)))
    file = root / "SegmentationObject" / "a.png"
    assert refused(root).startswith(f"{file}: has 4 x 40 pixels, but its image 20 x 40; ")
    picture(file)
    assert "a.png: not a PNG of object numbers (mode RGB instead of a palette)" in refused(root)
    file.write_text("")
    assert "a.png: not a PNG of object numbers" in refused(root)


BOMB = '<!DOCTYPE annotation [<!ENTITY a "dog">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi")
)
WRONG_FILES = [
    ("<annotation>\n<object>", "line 2: not XML (no element found)"),
    ("", "not XML (no element found)"),
    ("<html></html>", "line 1: expected <annotation>, got 'html'"),
    (f"{BOMB}]>\n<annotation><object><name>&i;</name></object></annotation>", "has a document type"),
    ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>', "has a document type"),
    ('<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><annotation/>', "line 1: has a document type"),
    ("<annotation>&b;</annotation>", "undefined entity"),
    ("<a>" * 1000 + "</a>" * 1000, "nested more than 20 deep"),
    ("<annotation>" + " " * 10_000_000 + "</annotation>", "larger than 10 MB"),
    ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "unknown encoding"),
    ("<annotation>\n<filename>z.png</filename></annotation>", "line 2: no image"),
    ("<annotation><filename>a.png</filename><filename>b.png</filename></annotation>", "<filename> is in <annotation>"),
]


@pytest.mark.parametrize(("content", "reason"), WRONG_FILES, ids=[reason for _, reason in WRONG_FILES])
def test_files_that_are_no_annotations(content: str, reason: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG, "b": DOG})
    text(root / "Annotations" / "b.xml", content)
    if "no image" in reason:
        (root / "JPEGImages" / "b.png").unlink()
    message = refused(root)
    assert message.startswith(f"{root / 'Annotations' / 'b.xml'}: ") and reason in message


WRONG_OBJECTS = [
    (DOG.replace("<name>dog</name>", ""), "line 4: <object> has no <name>"),
    (DOG.replace("dog", " "), "line 4: <object> without a name"),
    (DOG.replace("<xmin>11</xmin>", ""), "<bndbox> has no <xmin>"),
    (DOG.replace("bndbox", "polygon"), "<object> has no <bndbox>"),
    (DOG.replace("11", "eleven"), "line 5: xmin must be a number, got 'eleven'"),
    (DOG.replace("11", "nan"), "xmin must be a number, got 'nan'"),
    (DOG.replace("11", "30"), "line 5: xmin 30, xmax 20 must be in order and in the image's 1 to 40"),
    (DOG.replace("15", "22"), "ymin 6, ymax 22 must be in order and in the image's 1 to 20"),
    (DOG.replace("6", "-6"), "ymin -6"),
    (DOG.replace("</name>", "</name><difficult>maybe</difficult>"), "difficult must be 0 or 1, got 'maybe'"),
    (DOG + "<size/>", "<size> is in <annotation> twice"),
]


@pytest.mark.parametrize(("content", "reason"), WRONG_OBJECTS, ids=[reason for _, reason in WRONG_OBJECTS])
def test_objects_that_are_none(content: str, reason: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG, "b": content})
    message = refused(root)
    assert message.startswith(f"{root / 'Annotations' / 'b.xml'}: line ") and reason in message


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ("<width>41</width><height>20</height>", "line 3: size says 20 x 41, but "),
        ("<width>40</width>", "line 3: <size> has no <height>"),
        ("<width>wide</width><height>20</height>", "width must be a number"),
    ],
)
def test_sizes_that_are_not_the_images(size: str, reason: str, tmp_path: Path) -> None:
    assert reason in refused(voc(tmp_path / "set", {"a": DOG}, size))


@pytest.mark.parametrize("name", ["c", "../a", "/a", "x" * 5000, "a\0"])
def test_lists_that_lead_nowhere(name: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": DOG})
    text(root / "ImageSets" / "Main" / "train.txt", f"a\n\n{name}\n")
    message = refused(root)
    assert message.startswith(f"{root / 'ImageSets' / 'Main' / 'train.txt'}: line 3: ") and "has no file in" in message


def test_folders_that_lack_a_part(tmp_path: Path) -> None:
    root = voc(tmp_path / "set", {"a": ""})
    assert "no image has an object" in refused(root)
    (root / "JPEGImages").rename(root / "images")
    assert refused(root).startswith(f"{root / 'JPEGImages'}: no such folder")
    for split in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{split}.txt").unlink()
    assert "Main: has no list of images such as train.txt" in refused(root)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "set", {"a": DOG + CAT, "b": ""})
    out = tmp_path / "out"
    assert main(["convert", str(root), "--out", str(out)]) == 0
    output = capsys.readouterr().out
    for line in ("train: 2 images, 2 objects", "val: 1 images, 2 objects", f"written: {out}"):
        assert line in output
    assert "exists already; remove it" in error_line(capsys, ["convert", str(root), "--out", str(out)])
