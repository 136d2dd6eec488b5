# SPDX-License-Identifier: Apache-2.0
"""Pictures for people are of a size that can be looked at, and are drawn in no time whatever the numbers are."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch
from ldie.errors import UserError
from ldie.tasks.detection import Prediction, Sample
from ldie.tasks.detection.canvas import MAX_ENLARGED, MAX_SIDE, MIN_SIDE, ROOM, Canvas
from ldie.tasks.detection.colors import class_color
from ldie.tasks.detection.masks import from_coco
from ldie.tasks.detection.visualization import draw_heatmap, draw_prediction, draw_sample, grid, save_picture
from PIL import Image, ImageDraw

FAR = [1e9, -1e9, 1e39, -1e39, float("inf"), float("-inf")]
RED, BLUE = (255, 0, 0), (0, 0, 255)


def gray(height: int, width: int) -> torch.Tensor:
    return torch.full((3, height, width), 100, dtype=torch.uint8)


def found(boxes: torch.Tensor, size: tuple[int, int] = (128, 128), **changes) -> Prediction:
    count = len(boxes)
    values = {"scores": torch.ones(count), "labels": torch.zeros(count, dtype=torch.int64), "masks": None}
    return Prediction(boxes=boxes, **{**values, "keypoints": None, "size": size, **changes})


def annotated(image: torch.Tensor, boxes: torch.Tensor, **changes) -> Sample:
    values = {"labels": torch.zeros(len(boxes), dtype=torch.int64), "masks": None, "keypoints": None}
    values |= {"iscrowd": torch.zeros(len(boxes), dtype=torch.bool), "size": tuple(image.shape[1:])}
    return Sample(image=image, image_id=1, boxes=boxes, file_name="a.png", **{**values, **changes})


@pytest.mark.parametrize(
    ("height", "width"), [(2, 3000), (3000, 2), (1, 2000), (1, 1), (7, 9), (100, 5000), (1, 20000), (5000, 6000)]
)
def test_pictures_are_bounded_in_both_sides(height: int, width: int) -> None:
    picture = draw_prediction(gray(height, width), found(torch.tensor([[0.0, 0, width, height]])), ["person"])
    assert min(picture.size) >= ROOM and max(picture.size) <= MAX_SIDE
    if max(height, width) < MAX_ENLARGED:
        assert max(picture.size) <= MAX_ENLARGED
    assert (np.asarray(picture) == class_color(0)).all(2).any()


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(128, 128, 3), (64, 900, 2), (300, 2100, 1), (8192, 8192, 0.5)]
)
def test_the_image_keeps_its_shape(height: int, width: int, factor: float) -> None:
    picture = Canvas(gray(height, width)).picture()
    assert (picture.height, picture.width) == (height * factor, width * factor)
    assert min(height, width) * factor >= 128 and MIN_SIDE == 384
    assert (np.asarray(picture) == 100).all()


def test_marks_of_a_shrunk_image_stay_in_place() -> None:
    image = torch.zeros(3, 6144, 8192, dtype=torch.uint8)
    image[0, 2000:4000, 1000:3000] = 255
    square = [[1000.0, 2000.0, 3000.0, 2000.0, 3000.0, 4000.0, 1000.0, 4000.0]]
    canvas = Canvas(image)
    mask = torch.zeros(6144, 8192, dtype=torch.bool)
    mask[2000:4000, 1000:3000] = True
    canvas.mask(mask, BLUE)
    canvas.box((5000, 1000, 6000, 3000), BLUE)
    canvas.keypoints(torch.tensor([[7000.0, 5000.0, 2.0]]), RED)
    pixels = np.asarray(canvas.picture()).astype(int)
    assert pixels.shape == (3072, 4096, 3)
    blue = (pixels == BLUE).all(2)
    assert blue[1000, 500:1500].all() and blue[1999, 500:1500].all() and not blue[998, 500:1500].any()
    assert (pixels[1010:1990, 510:1490] == (153, 0, 102)).all()
    assert blue[500:1500, 2500].all() and blue[500:1500, 3000].all()
    assert pixels[2500, 3500].tolist() == list(RED)
    whole = draw_sample(
        annotated(image, torch.tensor([[1000.0, 2000, 3000, 4000]]), masks=from_coco([square], (6144, 8192))), ["a"]
    )
    assert whole.size == (4096, 3072)


def test_a_thin_image_lies_on_a_sheet_with_room_for_a_name() -> None:
    picture = draw_prediction(gray(2, 600), found(torch.tensor([[100.0, 0, 300, 2]]), (2, 600)), ["person"])
    pixels = np.asarray(picture)
    assert picture.size == (1800, ROOM) and (pixels[3, :150] == 100).all() and (pixels[6:90, :150] == 64).all()
    assert (pixels[:30, 300:380] == class_color(0)).all(2).sum() > 600


def test_sheets_of_many_pictures_are_bounded() -> None:
    pictures = [Image.new("RGB", size, RED) for size in [(4096, 3072), (20, 30), (3000, 96), (96, 3000)] * 8]
    sheet = grid(pictures)
    assert max(sheet.size) <= MAX_SIDE
    small = sheet.crop((sheet.width // 4, 0, sheet.width // 2, 60))
    assert (np.asarray(small) == RED).all(2).sum() == 20 * 30  # what fits is as it was


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("crowd", [False, True])
def test_a_box_that_ends_far_outside_is_cut_at_the_picture(far: float, crowd: bool, monkeypatch) -> None:
    drawn = []
    rectangle, paste = ImageDraw.ImageDraw.rectangle, Image.Image.paste
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "rectangle", lambda self, xy, *a, **k: (drawn.append(xy), rectangle(self, xy, *a, **k))
    )
    monkeypatch.setattr(
        Image.Image, "paste", lambda self, im, box=None, mask=None: (drawn.append(box), paste(self, im, box, mask))
    )
    boxes = torch.tensor([[40.0, 50.0, far, 100.0]])
    picture = draw_sample(annotated(gray(128, 128), boxes, iscrowd=torch.tensor([crowd])), ["a"])
    assert max(abs(value) for place in drawn for value in place) < 400
    edges = np.asarray(picture)[300, slice(130, 384) if far > 0 else slice(0, 110)]
    assert (edges == class_color(0)).all(1).mean() > (0.4 if crowd else 0.99)


def test_what_is_nowhere_or_beside_the_picture_is_not_drawn() -> None:
    nowhere = float("nan")
    boxes = torch.tensor([[nowhere, 0, 50, 50], [0, nowhere, 50, 50], [0, 0, nowhere, 50], [0, 0, 50, nowhere]])
    boxes = torch.cat(
        [boxes, torch.tensor([[1e9, 0, 2e9, 50], [0, -1e9, 50, -9], [-90, 0, -50, 50], [0, 200, 9, 250]])]
    )
    points = torch.full((8, 2, 3), float("nan"))
    picture = draw_sample(annotated(gray(128, 128), boxes, keypoints=points), ["a"], skeleton=[(0, 1)])
    assert picture.getcolors() == [(384 * 384, (100, 100, 100))]
    assert draw_prediction(gray(128, 128), found(boxes, keypoints=points), ["a"]).getcolors() == picture.getcolors()


@pytest.mark.parametrize("far", [*FAR, float("nan")])
def test_keypoints_far_outside_are_left_out_with_their_bones(far: float) -> None:
    canvas = Canvas(gray(128, 128))
    points = torch.tensor([[20.0, 20.0, 2.0], [far, 40.0, 2.0], [60.0, far, 1.0]])
    canvas.keypoints(points, RED, skeleton=[(0, 1), (1, 2), (0, 2)])
    pixels = np.asarray(canvas.picture())
    assert (pixels[61, 61] == RED).all()
    assert (np.delete(pixels, slice(50, 75), axis=0) == 100).all()


def test_a_heatmap_of_no_numbers_is_black() -> None:
    heat = torch.tensor([[float("nan"), float("-inf")]])
    assert (np.asarray(draw_heatmap(gray(128, 128), heat)) == np.asarray(draw_heatmap(gray(128, 128), heat * 0))).all()


def test_thousands_of_objects_are_drawn_one_mask_at_a_time(monkeypatch) -> None:
    """3,000 bitmaps of the whole image would take a gigabyte; and names beyond what there is room for are counted."""
    from ldie.tasks.detection import visualization

    shapes, to_bitmaps = [], visualization.to_bitmaps

    def recorded(masks, size):
        bitmaps = to_bitmaps(masks, size)
        shapes.append(tuple(bitmaps.shape))
        return bitmaps

    monkeypatch.setattr(visualization, "to_bitmaps", recorded)
    corners = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)) * 400
    boxes = torch.cat([corners, corners + 20], dim=1)
    parts = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes.tolist()]
    picture = draw_sample(annotated(gray(480, 640), boxes, masks=from_coco(parts, (480, 640))), ["person"])
    assert shapes == [(1, 480, 640)] * 3000
    note = np.asarray(picture)[465:, :60]
    assert (note == 255).all(2).mean() > 0.5  # "+ 2,900 names", black on white
    named = draw_sample(annotated(gray(480, 640), boxes[:3]), ["person"])
    assert (np.asarray(named)[465:, :60] == 100).all()


def test_names_cover_at_most_a_third_of_a_picture_and_do_not_hide_each_other() -> None:
    canvas = Canvas(gray(480, 640))
    for i in range(2000):
        canvas.label((i % 640, i % 480, 640, 480), "a name of some length", class_color(i % 7))
    pixels = np.asarray(canvas.image)
    assert 0.2 < (pixels != 100).any(2).mean() < 0.34


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    save_picture(Image.new("RGB", (5, 4), RED), path)
    before = path.read_bytes()

    def full(self, file, format=None) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"a\.png: .*No space left on device"):
        save_picture(Image.new("RGB", (5, 4), BLUE), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
