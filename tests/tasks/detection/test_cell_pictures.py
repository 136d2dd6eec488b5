# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks in cells: what is coloured, striped, lined and marked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldie.tasks.detection.cell_pictures import CellPicture, captioned, draw_legend, resized
from numpy.typing import NDArray
from PIL import Image

RED, BLUE, GREEN, WHITE = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)
GRAY = torch.full((3, 8, 12), 100, dtype=torch.uint8)


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def drawn(probabilities: torch.Tensor, *colors: tuple[int, int, int], cell: int = 16) -> NDArray[np.int64]:
    picture = CellPicture(GRAY, (64, 96), cell)
    picture.masks(probabilities, colors)
    return pixels(picture.picture())


def test_the_cells_of_a_mask_are_its_colour_and_no_others() -> None:
    mask = torch.zeros(1, 4, 6)
    mask[0, 1, 2] = 0.51
    mask[0, 3, 5] = 0.5  # half is not more than half
    picture = drawn(mask, RED)
    redness = picture[..., 0] - picture[..., 2]
    cell = redness[16:32, 32:48]
    assert (cell > 80).all()
    redness[16:32, 32:48] = 0
    assert not redness.any()


def test_an_outline_goes_around_and_lines_between_the_cells() -> None:
    mask = torch.zeros(1, 4, 6)
    mask[0, 1:3, 2:4] = 1
    picture = drawn(mask, RED)
    assert (picture[16:18, 32:64] == RED).all() and (picture[16:48, 62:64] == RED).all()
    inside = picture[20:44, 36:60]
    line = inside[32 - 20, :]  # where the second row of cells begins
    assert (line.sum(1) < inside[5, 5].sum()).all() and (inside < 255).all()


def test_cells_of_several_are_striped() -> None:
    masks = torch.zeros(4, 4, 6)
    masks[0, 1, 1:5], masks[1, 1, 4], masks[2, 1, 4], masks[3, 1, 4] = 0.9, 0.8, 0.7, 0.6
    picture = drawn(masks, RED, GREEN, BLUE, WHITE)
    shared, alone = picture[20:28, 68:76], picture[20:28, 36:44]
    strongest = {int(each.argmax()) for each in shared.reshape(-1, 3)}
    assert strongest == {0, 1, 2}
    assert {int(each.argmax()) for each in alone.reshape(-1, 3)} == {0}
    assert not (shared.min(2) > 100).any()  # the fourth is white, and not shown


def test_cells_at_the_border_are_cut() -> None:
    picture = CellPicture(GRAY, (60, 90), 16)
    picture.masks(torch.ones(1, 4, 6), [RED])
    image = picture.picture()
    assert image.size == (90, 60)
    assert (pixels(image)[..., 0] > pixels(image)[..., 2]).all()


@pytest.mark.parametrize("count", [0, 2])
def test_without_masks_there_is_the_image_in_the_dark(count: int) -> None:
    picture = drawn(torch.zeros(count, 4, 6), *[RED] * count)
    assert len(set(map(tuple, picture.reshape(-1, 3).tolist()))) == 2  # image and lines
    assert picture.max() < 100
    assert len(set(map(tuple, drawn(torch.zeros(0, 64, 96), cell=1).reshape(-1, 3).tolist()))) == 1


def test_newborns_have_rings_and_others_dots() -> None:
    picture = CellPicture(GRAY, (64, 96), 16)
    picture.mark(20, 20, RED, ring=True)
    picture.mark(70.4, 20.2, RED, ring=False)
    image = pixels(picture.picture())
    assert (image[20, 20] == RED).all() and (image[20, 70] == RED).all()
    assert (image[20, 27] == WHITE).all() and (image[20, 13] == WHITE).all()
    assert not (image[:, 55:] == WHITE).all(2).any()


def test_a_caption_has_room_beside_thin_pictures() -> None:
    thin = Image.new("RGB", (5, 40), RED)
    sheet = captioned(thin, "stride 32", "16 born, 0 gone, 16 alive")
    assert sheet.width > 150 and sheet.height > 50
    assert (pixels(sheet)[-40:, :5] == RED).all()
    wide = captioned(Image.new("RGB", (500, 40), RED), "a", "b")
    assert wide.width == 500
    text = pixels(wide)[:-40].max(2)
    assert (text[:, :30] > 200).any() and (text[:, -30:] > 120).any() and not (text[:, 40:-40] > 50).any()


def test_a_legend_is_one_line() -> None:
    legend = draw_legend(("ring", "born here"), ("", "and so on"))
    assert legend.height < 40 and legend.width > 150


def test_enlarged_pixels_stay_squares() -> None:
    image = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    large = torch.from_numpy(np.array(resized(image, (12, 15)))).permute(2, 0, 1)
    assert torch.equal(large, image.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert resized(image, (2, 2)).size == (2, 2)
