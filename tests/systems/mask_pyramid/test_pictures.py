# SPDX-License-Identifier: Apache-2.0
"""Pictures of how pyramids grew: a hypothesis keeps its colour, captions count, every image can be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.config import merge
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramid
from ldie.systems.mask_pyramid import pictures as module
from ldie.systems.mask_pyramid.growth import Level
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks, Seeds
from ldie.systems.mask_pyramid.pictures import Grown, draw_growth, trace
from ldie.systems.mask_pyramid.postprocess import Scored
from ldie.tasks.detection import CocoDataset, build_shapes
from ldie.tasks.detection.colors import class_color
from ldie.tasks.detection.mask_maps import Frame
from PIL import Image
from torch import Tensor

FRAME = Frame((64, 64), (64, 64), (64, 64))
CONFIG = merge(
    SYSTEM.preset("tiny"),
    {"model": {"start_stride": 32, "last_stride": 16, "growth": {"max_alive": [4], "newborns": [2]}}},
)
NAMES = ("circle", "square", "triangle")


def level(places: list[tuple[int, int]], slots: list[int], masks: Tensor, born: int, stride: int) -> Level:
    """Of one image, with hypotheses by slot; slots not in use have the values of one that was."""
    origins = torch.tensor([slots])
    births = torch.tensor([[[x, y, stride] for x, y in places]], dtype=torch.float32)
    return Level(
        Hypotheses(Seeds(origins, births, None), Masks(masks[None], None)), None, None, torch.tensor([born]), origins
    )


def grown(scores: list[float]) -> Grown:
    """Two of three survive and change slots; of two newborns one lives on, in a slot after one that is not in use."""
    coarse = torch.full((4, 2, 2), -9.0)
    coarse[0, 0, 0] = coarse[1, 0, 1] = coarse[2, 1, 0] = 9
    fine = torch.full((4, 4, 4), -9.0)
    fine[0, :2, 2:], fine[1, 2:, :2], fine[2], fine[3, 3, 3] = 9, 9, 9, 9
    places = [(16, 16), (48, 16), (16, 48), (1, 1)]
    first = level(places, [0, 1, 2, -1], coarse, 3, 32)
    last = level([(48, 16), (16, 48), (1, 1), (56, 56)], [1, 2, -1, 5], fine, 2, 32)
    maps = fine.sigmoid()[None]
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    own = Scored(maps, torch.tensor([scores]), torch.tensor([[0, 1, 0, 2]]))
    return Grown(image, [first, last], own, FRAME)


def test_a_hypothesis_keeps_its_colour_whatever_its_slot() -> None:
    """The best result has the first colour, on levels before, too; and nothing is drawn of slots that are free."""
    coarse, fine, results = (np.asarray(each) for each in draw_growth(grown([0.4, 0.9, 0.0, 0.2]), CONFIG, NAMES))
    top = coarse.shape[0] - 384
    best, second, late = (class_color(number) for number in range(3))
    for picture in (coarse, fine, results):
        assert (picture[top + 192 :, :192] == best).all(2).sum() > 500
        assert (picture[top : top + 192, 192:] == second).all(2).sum() > 500
    for picture in (coarse, fine):  # in the results its name stands above it
        assert not (picture[top : top + 192, :192] == best).all(2).any()
    assert (fine[top + 288 :, 288:] == late).all(2).any()
    assert not (results[top + 192 :, 192:] == late).all(2).any()  # its score is below what is drawn
    unclaimed = fine[top + 4 : top + 188, 4:188]
    assert unclaimed.max() < 100 and len(np.unique(unclaimed.reshape(-1, 3), axis=0)) == 2


def test_captions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[tuple[str, str]] = []

    def noted(picture: Image.Image, title: str, note: str) -> Image.Image:
        notes.append((title, note))
        return picture

    monkeypatch.setattr(module, "captioned", noted)
    draw_growth(grown([0.4, 0.9, 0.0, 0.2]), CONFIG, NAMES)
    assert notes == [
        ("stride 32", "3 born, 0 gone, 3 alive"),
        ("stride 16", "2 born, 2 gone, 3 alive"),
        ("results", "2 of 3 with a score of 0.3 or more"),
    ]


def test_hypotheses_are_traced_through_their_slots() -> None:
    first, last = trace(grown([0.0] * 4).levels)
    assert first == {0: (0, 0), 1: (0, 1), 2: (0, 2)}
    assert last == {0: (0, 1), 1: (0, 2), 3: (1, 5)}


@pytest.fixture(scope="module")
def model() -> MaskPyramid:
    torch.manual_seed(0)
    config = SYSTEM.preset("tiny")
    return MaskPyramid.from_config(config, SYSTEM.task.facts_without_data(config)).eval()


@pytest.mark.parametrize("size", [(128, 128), (70, 131), (1, 1), (3, 300), (200, 9)])
@torch.no_grad()
def test_images_of_all_sizes(model: MaskPyramid, size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    (sheet,) = model.pictures([image]).values()
    assert max(sheet.size) <= 5 * 1200
    assert sheet.tobytes() == model.pictures([image])["pyramid"].tobytes()


@torch.no_grad()
def test_one_row_for_each_of_the_first_images(model: MaskPyramid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldie.systems.mask_pyramid.model.SHOWN", 2)
    images = list(torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8))
    one, two, three = (model.pictures(images[:count])["pyramid"].height for count in (1, 2, 3))
    assert 384 < two - one < 450 and two == three
    assert model.pictures([]) == {}


@torch.no_grad()
def test_levels_that_do_not_grow_yet_are_not_drawn(model: MaskPyramid) -> None:
    image = torch.zeros(3, 128, 128, dtype=torch.uint8)
    whole, levels = model.pictures([image])["pyramid"], model.levels
    model.levels = 2
    try:
        part = model.pictures([image])["pyramid"]
    finally:
        model.levels = levels
    assert part.width < 0.7 * whole.width and part.height == whole.height


def test_a_report_has_the_picture(model: MaskPyramid, tmp_path: Path) -> None:
    data = CocoDataset(build_shapes(tmp_path / "shapes", train=1, val=2), "val2017")
    with torch.no_grad():
        found = model.predict([data[i].image for i in range(len(data))])
    results = {data[i].image_id: each for i, each in enumerate(found)}
    SYSTEM.task.report(tmp_path, data, results, model)
    with Image.open(tmp_path / "pictures" / "pyramid.png") as sheet:
        assert sheet.format == "PNG" and sheet.height > 2 * 384
