# SPDX-License-Identifier: Apache-2.0
import colorsys
from itertools import combinations

import numpy as np
import pytest
import torch
from ldie.tasks.detection import Prediction, Sample
from ldie.tasks.detection.canvas import MIN_SIDE, Canvas
from ldie.tasks.detection.colors import class_color
from ldie.tasks.detection.masks import from_coco, to_bitmaps
from ldie.tasks.detection.visualization import SURE_POINT, draw_heatmap, draw_prediction, draw_sample, grid
from PIL import Image

NAMES = ["circle", "square"]


def gray(height=128, width=128):
    return torch.full((3, height, width), 100, dtype=torch.uint8)


def sample(**changes):
    values = {
        "image": gray(),
        "image_id": 1,
        "boxes": torch.tensor([[40.0, 50.0, 90.0, 100.0]]),
        "labels": torch.tensor([1]),
        "iscrowd": torch.tensor([False]),
        "masks": None,
        "keypoints": None,
        "size": (128, 128),
        "file_name": "a.png",
    }
    return Sample(**{**values, **changes})


def prediction(score=0.9, **changes):
    values = {"boxes": torch.tensor([[20.0, 30.0, 60.0, 70.0]]), "scores": torch.tensor([score])}
    values |= {"labels": torch.tensor([0]), "masks": None, "keypoints": None, "size": (128, 128)}
    return Prediction(**{**values, **changes})


def tint(label, background=(100, 100, 100)):
    """A background under the mask of a class."""
    return tuple(round(0.6 * below + 0.4 * channel) for below, channel in zip(background, class_color(label)))


def at(picture, x, y):
    """Colour at the middle of original pixel coordinates (x, y) of a 128-pixel image."""
    return picture.getpixel((int(x * MIN_SIDE / 128), int(y * MIN_SIDE / 128)))


def test_small_images_are_enlarged_and_large_ones_kept():
    assert draw_sample(sample(), NAMES).size == (384, 384)
    assert draw_sample(sample(image=gray(400, 600), size=(400, 600)), NAMES).size == (600, 400)


def test_boxes_have_class_colours_and_a_label_at_the_corner():
    picture = draw_sample(sample(), NAMES)
    assert all(at(picture, x, y) == class_color(1) for x, y in [(65, 50), (65, 100), (40, 75), (90, 75)])
    assert at(picture, 65, 75) == (100, 100, 100)
    label = np.asarray(picture)[135:150, 120:165]
    assert (label == class_color(1)).all(2).mean() > 0.3
    assert (label > 180).all(2).sum() > 10  # the text


def test_a_label_stays_inside_the_image():
    boxes = torch.tensor([[120.0, -3.0, 140.0, 20.0]])
    pixels = np.asarray(draw_sample(sample(boxes=boxes), NAMES))
    assert (pixels[2:10, -40:] == class_color(1)).all(2).mean() > 0.2


@pytest.mark.parametrize("background", [0, 100, 255])
def test_truth_is_black_and_white_on_any_background_and_has_its_name(background):
    image = torch.full((3, 128, 128), background, dtype=torch.uint8)
    picture = draw_prediction(image, prediction(0.9), NAMES, truth=sample())
    pixels = np.asarray(picture)
    edge = pixels[149:152, 3 * 62 : 3 * 85]  # three rows around y = 50
    assert 0.3 < (edge[1] == 255).all(1).mean() < 0.8 and (edge[[0, 2]] == 0).all()
    assert at(picture, 20, 50) == class_color(0)
    name = pixels[302:319, 120:160]  # below the lower left corner
    assert (name == 0).all(2).mean() > 0.5 and (name > 180).all(2).sum() > 10


def test_truth_shows_beside_a_prediction_in_its_place():
    same = prediction(boxes=sample().boxes)
    edge = np.asarray(draw_prediction(gray(), same, NAMES, truth=sample()))[149:152, 3 * 70]
    assert edge.tolist() == [list(class_color(0))] * 2 + [[0, 0, 0]]


def test_crowds_of_the_truth_are_named_so():
    plain, crowd = (
        draw_prediction(gray(), prediction(0.1), NAMES, truth=sample(iscrowd=torch.tensor([flag])))
        for flag in (False, True)
    )
    black = [(np.asarray(picture)[302:319] == 0).all(2).sum() for picture in (plain, crowd)]
    assert black[1] > 1.5 * black[0]


def test_weak_predictions_are_left_out():
    weak = draw_prediction(gray(), prediction(0.2), NAMES)
    assert weak.getcolors() == [(384 * 384, (100, 100, 100))]


def test_instances_of_a_class_have_one_hue_and_neighbours_another_shade():
    boxes = torch.tensor([[10.0 + 20 * i, 40, 25 + 20 * i, 60] for i in (3, 0, 2, 1)])
    several = {"boxes": boxes, "labels": torch.tensor([1, 1, 1, 1])}
    found = prediction(**several, scores=torch.ones(4))
    drawn = draw_sample(sample(**several, iscrowd=torch.zeros(4, dtype=torch.bool)), NAMES)
    for picture in (drawn, draw_prediction(gray(), found, NAMES)):
        colors = [at(picture, 10 + 20 * i, 55) for i in range(4)]
        assert colors == [class_color(1, i) for i in range(4)]
        assert all(sum(abs(x - y) for x, y in zip(a, b)) > 80 for a, b in combinations(colors, 2))
        hues = [colorsys.rgb_to_hsv(*(channel / 255 for channel in color))[0] for color in colors]
        assert max(hues) - min(hues) < 0.01


@pytest.mark.parametrize(
    "mask",
    [
        [[40.0, 50.0, 90.0, 50.0, 90.0, 100.0, 40.0, 100.0]],
        {"size": [128, 128], "counts": [40 * 128 + 50, *([50, 78] * 49), 50, 128 * 128 - 89 * 128 - 100]},
    ],
)
def test_masks_tint_what_they_cover(mask):
    picture = draw_sample(sample(masks=from_coco([mask], (128, 128))), NAMES)
    assert at(picture, 65.5, 75.5) == tint(1)
    assert at(picture, 20.5, 20.5) == (100, 100, 100)


def test_predicted_masks_of_at_least_the_score_tint():
    squares = [[[x, 50.0, x + 30, 50.0, x + 30, 100.0, x, 100.0]] for x in (20.0, 80.0)]
    both = {
        "boxes": torch.tensor([[20.0, 50.0, 50.0, 100.0], [80.0, 50.0, 110.0, 100.0]]),
        "scores": torch.tensor([0.2, 0.9]), "labels": torch.tensor([0, 1]),
        "masks": from_coco(squares, (128, 128)),
    }  # fmt: skip
    picture = draw_prediction(gray(), prediction(**both), NAMES)
    assert at(picture, 95.5, 75.5) == tint(1)
    assert at(picture, 35.5, 75.5) == (100, 100, 100)


def test_crowds_are_dashed():
    plain, crowd = (draw_sample(sample(iscrowd=torch.tensor([flag])), NAMES) for flag in (False, True))
    lines = [(np.asarray(picture)[300, 120:270] == class_color(1)).all(1).mean() for picture in (plain, crowd)]
    assert lines[0] > 0.95
    assert 0.3 < lines[1] < 0.8


def test_keypoints_by_visibility():
    points = torch.tensor([[[60.0, 70.0, 2.0], [70.0, 70.0, 1.0], [80.0, 70.0, 0.0]]])
    picture = draw_sample(sample(keypoints=points), NAMES)
    assert at(picture, 60.5, 70.5) == class_color(1)
    assert at(picture, 70.5, 70.5) == at(picture, 80.5, 70.5) == (100, 100, 100)
    hidden = np.asarray(picture)[205:218, 205:218]
    assert (hidden != 100).any()
    found = draw_prediction(gray(), prediction(keypoints=points[:, :1] * torch.tensor([1, 1, 0.2])), NAMES)
    assert at(found, 60.5, 70.5) == class_color(0)


def test_heatmap_brightens_where_it_is_high():
    heat = torch.zeros(32, 32)
    heat[8, 24] = 1
    pixels = np.asarray(draw_heatmap(gray(), heat)).astype(int).sum(2)
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert abs(row - 8.5 * 12) < 8 and abs(column - 24.5 * 12) < 8
    assert pixels[300, 50] < 150


def test_grid_places_pictures_row_by_row():
    colors = [(10 * i, 0, 0) for i in range(1, 6)]
    sheet = grid([Image.new("RGB", (20, 10 + i), color) for i, color in enumerate(colors)], columns=3, gap=2)
    assert sheet.size == (3 * 22 + 2, (12 + 2) + (14 + 2) + 2)
    assert sheet.getpixel((3, 3)) == colors[0]
    assert sheet.getpixel((2 + 2 * 22 + 1, 3)) == colors[2]
    assert sheet.getpixel((3, 2 + 14 + 1)) == colors[3]


def test_neighbouring_classes_differ_in_colour():
    colors = np.array([class_color(label) for label in range(80)])
    distance = np.abs(np.diff(colors, axis=0)).sum(1)
    assert distance.min() > 150
    assert len(np.unique(colors, axis=0)) == 80


def test_labels_do_not_cover_each_other():
    canvas = Canvas(torch.zeros(3, 400, 400, dtype=torch.uint8))
    colors = [class_color(label) for label in range(8)]
    canvas.label((100, 200, 140, 230), "person", colors[0])
    size = (np.asarray(canvas.image) == colors[0]).all(2).sum()
    for shift, color in enumerate(colors[1:], start=1):  # names of one length on boxes almost in one place
        canvas.label((100 + shift, 200 + shift, 140 + shift, 230 + shift), "person", color)
    pixels = np.asarray(canvas.image)
    assert [(pixels == color).all(2).sum() for color in colors] == pytest.approx([size] * 8, rel=0.1)


def test_masks_have_an_outline_and_crowds_are_hatched():
    square = [[40.0, 50.0, 90.0, 50.0, 90.0, 100.0, 40.0, 100.0]]
    for crowd, least, most in ((False, 0.95, 1.0), (True, 0.4, 0.6)):
        picture = draw_sample(sample(masks=from_coco([square], (128, 128)), iscrowd=torch.tensor([crowd])), NAMES)
        pixels = np.asarray(picture)
        assert least <= (pixels[180:280, 150:250] == tint(1)).all(2).mean() <= most
    canvas = Canvas(gray())
    canvas.mask(to_bitmaps(from_coco([square], (128, 128)), (128, 128))[0], class_color(1))
    edge = (np.asarray(canvas.image) == class_color(1)).all(2)
    assert edge[150, 130:260].all() and edge[180:280, 120].all() and not edge[152:298, 122:268].any()


def test_a_mask_that_leaves_the_image_has_no_outline_along_the_border():
    canvas = Canvas(gray())
    half = from_coco([[[0.0, 0.0, 128.0, 0.0, 128.0, 60.0, 0.0, 60.0]]], (128, 128))
    canvas.mask(to_bitmaps(half, (128, 128))[0], class_color(1))
    edge = (np.asarray(canvas.image) == class_color(1)).all(2)
    assert edge[179].all() and not edge[:179].any()


def test_small_objects_lie_on_large_ones():
    boxes = torch.tensor([[50.0, 60.0, 80.0, 90.0], [40.0, 50.0, 90.0, 100.0]])
    masks = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes.tolist()]
    both = {"boxes": boxes, "labels": torch.tensor([0, 1]), "iscrowd": torch.tensor([False, False])}
    picture = draw_sample(sample(masks=from_coco(masks, (128, 128)), **both), NAMES)
    assert at(picture, 65, 75) == tint(0, tint(1))


def test_the_skeleton_joins_labelled_points():
    points = torch.tensor([[[50.0, 60.0, 2.0], [80.0, 60.0, 1.0], [80.0, 90.0, 0.0]]])
    picture = draw_sample(sample(keypoints=points), NAMES, skeleton=[(0, 1), (1, 2)])
    assert at(picture, 65.5, 60.5) == class_color(1)
    assert at(picture, 80.5, 75.5) == (100, 100, 100)


def test_predicted_keypoints_show_how_sure_the_model_is():
    points = torch.tensor([[[50.0, 60.0, SURE_POINT], [80.0, 60.0, 0.9], [80.0, 90.0, SURE_POINT / 2]]])
    picture = draw_prediction(gray(), prediction(keypoints=points), NAMES, skeleton=[(0, 1), (1, 2)])
    assert [at(picture, x + 0.5, y + 0.5) == class_color(0) for x, y, _ in points[0].tolist()] == [True, True, False]
    around = np.asarray(picture)[263:281, 233:251]
    assert (around != 100).any()  # hollow
    assert at(picture, 65.5, 60.5) == class_color(0) and at(picture, 80.5, 75.5) == (100, 100, 100)


def test_keypoints_without_a_score_are_not_sure():
    points = torch.tensor([[[50.0, 60.0, float("nan")]]])
    picture = draw_prediction(gray(), prediction(keypoints=points), NAMES)
    assert at(picture, 50.5, 60.5) == (100, 100, 100)


def test_true_keypoints_are_white_and_below_predicted_ones():
    true = torch.tensor([[[100.0, 60.0, 2.0], [80.0, 90.0, 2.0], [50.0, 110.0, 0.0]]])
    found = torch.tensor([[[100.0, 60.0, 0.9]]])
    picture = draw_prediction(gray(), prediction(keypoints=found), NAMES, truth=sample(keypoints=true))
    colors = [at(picture, x + 0.5, y + 0.5) for x, y, _ in true[0].tolist()]
    assert colors == [class_color(0), (255, 255, 255), (100, 100, 100)]
