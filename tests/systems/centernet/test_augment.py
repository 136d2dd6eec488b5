"""What training crops keep and leave out, and what the scales see of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldie.config import merge, to_dict
from ldie.systems.centernet.augment import ScaleCrops
from ldie.systems.centernet.config import InputConfig
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.inputs import evaluation_image, network_input
from ldie.systems.centernet.presets import PRESETS
from systems.centernet.helpers import make_sample, small_config, small_recipe

SQUARE = [24.0, 20.0, 36.0, 32.0]


def square_image() -> torch.Tensor:
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    x1, y1, x2, y2 = (int(value) for value in SQUARE)
    image[:, y1:y2, x1:x2] = 255
    return image


def crops(seed: int, boxes=(SQUARE,), labels=(1,), iscrowd=None, **solver):
    data = {"resize_range": [0.7, 1.4], "color_jitter": 0.0}
    transform = ScaleCrops(small_config(solver={"data": data, **solver}))
    sample = make_sample([list(box) for box in boxes], list(labels), square_image())
    if iscrowd is not None:
        sample.iscrowd = torch.tensor(iscrowd)
    return transform(sample, np.random.default_rng(seed))


def extent_of_white(image: torch.Tensor) -> torch.Tensor:
    white = image[0] > 127
    columns, rows = white.any(0).nonzero().flatten(), white.any(1).nonzero().flatten()
    return torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()


@pytest.mark.parametrize("contents_match", [False, True])
def test_boxes_follow_the_pixels(contents_match):
    seen = [0, 0, 0]
    for seed in range(30):
        for scale, crop in enumerate(crops(seed, contents_match=contents_match)):
            size = 64 >> scale
            assert crop.image.shape == (3, size, size)
            assert crop.image.dtype == torch.uint8
            for box in crop.boxes:
                seen[scale] += 1
                torch.testing.assert_close(box, extent_of_white(crop.image), rtol=0, atol=1.01)
    assert min(seen) > 0


def test_matched_crops_show_the_same_objects():
    for seed in range(10):
        first, second, third = crops(seed, contents_match=True)
        torch.testing.assert_close(first.boxes / 4, second.boxes / 2)
        torch.testing.assert_close(first.boxes / 4, third.boxes)
        shrunk = torch.nn.functional.avg_pool2d(first.image.float(), 2)
        assert (shrunk - second.image).abs().mean() < 12


def test_crops_of_their_own_differ():
    first, second, _ = crops(0, contents_match=False)
    assert first.boxes.shape != second.boxes.shape or not torch.allclose(first.boxes / 4, second.boxes / 2)


def test_cut_boxes_below_the_threshold_are_dropped():
    for seed in range(30):
        small = crops(seed, contents_match=False)[2]
        assert len(small.boxes) == 0 or (small.boxes[:, 2:] - small.boxes[:, :2]).min() >= 0.95 * 0.7 * 12 - 1


def test_crowds_and_boxes_without_area_are_no_targets():
    boxes = [SQUARE, SQUARE, [30.0, 30.0, 30.0, 40.0], [30.0, 40.0, 40.0, 30.0]]
    for seed in range(10):
        crop = crops(seed, boxes, [0, 1, 2, 2], iscrowd=[True, False, False, False])[0]
        assert set(crop.labels.tolist()) <= {1}


def test_large_images_are_brought_to_the_input_size():
    image = square_image().repeat_interleave(8, 1).repeat_interleave(8, 2)
    sample = make_sample([[8 * value for value in SQUARE]], [1], image)
    config = small_config(input={"max_size": 64}, solver={"data": {"resize_range": [1.0, 1.0], "color_jitter": 0.0}})
    crop = ScaleCrops(config)(sample, np.random.default_rng(0))[0]
    width = crop.boxes[0, 2] - crop.boxes[0, 0]
    assert width.item() == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize("contents_match", [False, True])
def test_crops_need_not_be_square(contents_match):
    config = small_config(solver={"data": {"heatmap_size": [8, 16]}, "contents_match": contents_match})
    crops = ScaleCrops(config)(make_sample([SQUARE], [1], square_image()), np.random.default_rng(0))
    assert [tuple(crop.image.shape[1:]) for crop in crops] == [(32, 64), (16, 32), (8, 16)]


@pytest.mark.parametrize(
    ("contents_match", "multiple", "shapes"),
    [
        (False, 1, [(32, 64), (32, 64), (32, 64)]),
        (True, 1, [(32, 64), (16, 32), (8, 16)]),
        (False, 24, [(24, 48), (24, 48), (24, 48)]),
    ],
)
def test_evaluation_inputs_of_the_scales(contents_match, multiple, shapes):
    config = small_config(
        input={"max_size": 64}, solver={"contents_match": contents_match}, test={"crop_multiple": multiple}
    )
    image = torch.zeros(3, 100, 200, dtype=torch.uint8)
    assert [tuple(evaluation_image(image, scale, config).shape[1:]) for scale in range(3)] == shapes


def test_full_evaluation_crops_to_multiples_of_16_at_native_resolution():
    config = small_config(solver={"contents_match": False})
    config = merge(config, {"input": to_dict(PRESETS["full"].input), "test": to_dict(PRESETS["full"].test)})
    image = torch.randint(0, 256, (3, 37, 55), dtype=torch.uint8)
    for scale in range(3):
        seen = evaluation_image(image, scale, config)
        assert torch.equal(seen, image[:, :32, :48])


def test_boxes_of_a_cropped_evaluation_image_stay_where_they_are():
    """A detector that finds a box of 6 x 6 around (30, 20), in whichever part of the image it sees."""
    image = torch.zeros(3, 40, 88, dtype=torch.uint8)
    boxes = []
    for settings in ({}, {"crop_multiple": 32}):
        recipe = small_recipe(
            model={"valid_scale": [2]}, solver={"contents_match": False}, input={"max_size": 0}, test=settings
        )
        maps = Maps(torch.full((1, 3, 40, 88), -9.0), torch.full((1, 2, 40, 88), 6.0), torch.zeros(1, 2, 40, 88))
        maps.heatmap[0, 1, 20, 30] = 9.0
        height, width = evaluation_image(image, 2, recipe.config).shape[1:]
        recipe.model._maps = lambda *_, h=height, w=width, maps=maps: [Maps(*(part[:, :, :h, :w] for part in maps))]
        boxes.append(recipe.model.predict([image])[0].boxes[0])
    torch.testing.assert_close(boxes[0], torch.tensor([27.0, 17, 33, 23]))
    assert torch.equal(*boxes)


def test_network_input_in_either_order_of_channels():
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    rgb, bgr = (
        network_input(images, InputConfig(bgr, mean, std))
        for bgr, mean, std in ((False, (0.1, 0.2, 0.3), (1, 2, 4)), (True, (0.3, 0.2, 0.1), (4, 2, 1)))
    )
    torch.testing.assert_close(rgb, bgr.flip(1))
    torch.testing.assert_close(rgb[:, 2], (images[:, 2] / 255 - 0.3) / 4)


def test_any_image_size_is_predicted_and_mapped():
    model = small_recipe().model.eval()
    for height, width in ((1, 1), (17, 5), (64, 50), (130, 200)):
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        with torch.no_grad():
            (prediction,) = model.predict([image])
            maps = model.heatmaps([image])
        assert prediction.size == (height, width)
        limit = torch.tensor([width, height, width, height])
        assert ((prediction.boxes >= 0) & (prediction.boxes <= limit)).all()
        assert list(maps) == ["heatmap_scale_0", "heatmap_scale_1", "heatmap_scale_2"]
        assert all(part.min() >= 0 and part.max() <= 1 for (part,) in maps.values())


def test_a_scale_sees_the_same_without_the_others():
    sample = make_sample([SQUARE], [1], square_image())
    alone, together = (
        ScaleCrops(small_config(model={"valid_scale": scales}, solver={"contents_match": True}))
        for scales in ([1], [0, 1, 2])
    )
    first, second = (transform(sample, np.random.default_rng(3)) for transform in (alone, together))
    assert torch.equal(first[0].image, second[1].image)
    assert torch.equal(first[0].boxes, second[1].boxes)
    configs = [small_config(model={"valid_scale": scales}, solver={"contents_match": True}) for scales in ([1], [0, 1])]
    assert torch.equal(*(evaluation_image(sample.image, 1, config) for config in configs))
