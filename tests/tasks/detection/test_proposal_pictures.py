# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, DetectionTask, build_shapes
from ldie.tasks.detection.canvas import Canvas
from ldie.tasks.detection.colors import GREEN, RED, class_color, heat_colors
from ldie.tasks.detection.proposal_pictures import SEARCHED, SHOWN, draw_proposals
from ldie.tasks.detection.sample import Sample
from PIL import Image
from tasks.detection.coco_files import perfect

GRAY = (100, 100, 100)
SIDE = 400
OBJECT = [40.0, 60.0, 140.0, 160.0]
FAR = [200.0, 200.0, 300.0, 300.0]
ELSEWHERE = [320.0, 320.0, 390.0, 390.0]


def image_of(boxes, crowds=()):
    """A gray image, drawn pixel by pixel, with objects at these boxes."""
    return Sample(
        image=torch.full((3, SIDE, SIDE), 100, dtype=torch.uint8), image_id=1, size=(SIDE, SIDE), file_name="a.png",
        boxes=torch.tensor([*boxes, *crowds]).reshape(-1, 4), labels=torch.zeros(len(boxes) + len(crowds)).long(),
        iscrowd=torch.arange(len(boxes) + len(crowds)) >= len(boxes), masks=None, keypoints=None,
    )  # fmt: skip


def drawn(proposals, boxes=(), crowds=()):
    return draw_proposals(torch.tensor(proposals).reshape(-1, 4), image_of(boxes, crowds))


def colors_of(picture):
    return {color for _, color in picture.getcolors(SIDE * SIDE)}


def right_of(box):
    """A pixel in the middle of a box's right side."""
    return int(box[2]) - 1, int(box[1] + box[3]) // 2


@pytest.mark.parametrize(("share", "color"), [(1.0, GREEN), (0.5, GREEN), (0.49, RED)])
def test_objects_are_green_where_a_proposal_overlaps_by_half(share, color):
    part = [*OBJECT[:2], OBJECT[0] + 100 * share, OBJECT[3]]
    picture = drawn([FAR, part], [OBJECT])
    assert picture.getpixel(right_of(OBJECT)) == color
    assert ({GREEN, RED} & colors_of(picture)) == {color}


def test_an_overlap_just_below_half_does_not_read_as_half(monkeypatch):
    names = []
    monkeypatch.setattr(Canvas, "label", lambda self, box, name, color: names.append((name, color)))
    for share in (0.497, 0.5, 1.0):
        drawn([[*OBJECT[:2], OBJECT[0] + 100 * share, OBJECT[3]]], [OBJECT])
    assert names == [("0.49", RED), ("0.50", GREEN), ("1.00", GREEN)]


def test_each_object_is_judged_by_its_own_proposals():
    picture = drawn([OBJECT], [OBJECT, FAR])
    assert picture.getpixel(right_of(OBJECT)) == GREEN and picture.getpixel(right_of(FAR)) == RED


def test_objects_are_looked_for_among_the_best_hundred():
    others = [ELSEWHERE] * (SEARCHED - 1)
    assert drawn([*others, OBJECT], [OBJECT]).getpixel(right_of(OBJECT)) == GREEN
    assert drawn([*others, ELSEWHERE, OBJECT], [OBJECT]).getpixel(right_of(OBJECT)) == RED


def test_the_best_proposals_are_drawn_by_rank():
    proposals = [[10.0 + 11 * i, 20.0, 18.0 + 11 * i, 200.0] for i in range(SHOWN + 1)]
    picture = drawn(proposals)
    shown = [picture.getpixel((round(box[0]), 100)) for box in proposals]
    assert shown == [*heat_colors(SHOWN), GRAY]
    brightness = np.array(shown[:-1]) @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) < 0).all() and brightness[0] > 3 * brightness[-1]


def test_the_best_lies_on_top_and_objects_on_all():
    picture = drawn([OBJECT, OBJECT])
    assert picture.getpixel((round(OBJECT[0]), 100)) == heat_colors(2)[0]
    assert heat_colors(1)[0] not in colors_of(drawn([OBJECT], [OBJECT]))


def test_crowds_are_dashed_and_neither_found_nor_missed():
    picture = drawn([OBJECT], crowds=[FAR])
    assert not {GREEN, RED} & colors_of(picture)
    edge = np.asarray(picture)[210:290, 200]
    assert 0.3 < (edge == 255).all(1).mean() < 0.7


def test_images_without_proposals_or_without_objects():
    assert drawn([], [OBJECT]).getpixel(right_of(OBJECT)) == RED
    assert colors_of(drawn([])) == {GRAY}
    assert heat_colors(0) == []


def test_proposals_that_are_no_boxes_find_nothing():
    nan, inf = float("nan"), float("inf")
    picture = drawn([[nan, 0.0, 10.0, 10.0], [-inf, -inf, inf, inf]], [OBJECT])
    assert picture.getpixel(right_of(OBJECT)) == RED


class _Silent:
    def pictures(self, images):
        return {}


@pytest.fixture(scope="module")
def val(tmp_path_factory):
    root = build_shapes(tmp_path_factory.mktemp("data") / "shapes", train=1, val=3)
    return CocoDataset(root, "val2017")


def report(val: CocoDataset, folder: Path, proposing: bool) -> set[str]:
    results = {sample.image_id: perfect(sample) for sample in (val[i] for i in range(len(val)))}
    if proposing:
        results = {id: dataclasses.replace(each, proposals=each.boxes) for id, each in results.items()}
    DetectionTask().report(folder, val, results, _Silent())
    return {file.name for file in (folder / "pictures").iterdir()}


def test_a_report_shows_proposals_where_there_are_some(val, tmp_path):
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    assert report(val, tmp_path / "with", proposing=True) == {"predictions.png", "proposals.png"}
    assert report(val, tmp_path / "without", proposing=False) == {"predictions.png"}
    with Image.open(tmp_path / "with" / "pictures" / "proposals.png") as sheet:
        assert GREEN in colors_of(sheet) and RED not in colors_of(sheet)


def test_a_report_joins_predicted_keypoints_by_the_skeleton(val, tmp_path, monkeypatch):
    counts = []
    for skeleton in (val.skeleton, ()):
        monkeypatch.setattr(CocoDataset, "skeleton", skeleton)
        folder = tmp_path / str(len(skeleton))
        folder.mkdir()
        report(val, folder, proposing=False)
        with Image.open(folder / "pictures" / "predictions.png") as sheet:
            counts.append({color: count for count, color in sheet.getcolors(sheet.width * sheet.height)})
    joined, plain = counts
    assert sum(joined.get(class_color(label), 0) - plain.get(class_color(label), 0) for label in range(3)) > 100
