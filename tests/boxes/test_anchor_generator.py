"""nn.AnchorGenerator: torchvision's call convention over grid_anchors, with a cache that changes no result."""

from __future__ import annotations

import copy
import doctest

import pytest
import torch
from backends import Backend
from op_checks import assert_same
from reference.anchors import detectron2_cells, level_anchors, torchvision_cells
from torch import Tensor

import ldie_ext
from ldie_ext import nn
from ldie_ext.ops.boxes.grid_anchors import Convention

SIZES, RATIOS = ((32,), (64,)), (0.5, 1.0, 2.0)


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    nn._cached_anchors.cache_clear()


class Images:
    """What the generator needs of torchvision's ImageList."""

    def __init__(self, tensors: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensors, self.image_sizes = tensors, image_sizes


def batch(height: int, width: int, device: torch.device, images: int = 2) -> tuple[Images, list[Tensor]]:
    """A padded batch and the maps of two levels, the second too coarse for small images."""
    tensors = torch.zeros(images, 3, height, width, device=device)
    maps = [torch.zeros(images, 8, height // stride, width // stride, device=device) for stride in (8, 16)]
    return Images(tensors, [(height, width)] * images), maps


def test_same_as_grid_anchors(backend: Backend) -> None:
    image_list, maps = batch(40, 70, backend.device)
    for convention in ("torchvision", "detectron2"):
        generator = nn.AnchorGenerator(SIZES, RATIOS, convention=convention, offset=0.5)
        levels = ldie_ext.grid_anchors(
            SIZES,
            RATIOS,
            [(5, 8), (2, 4)],
            [(8, 8), (20, 17)],
            convention=convention,
            offset=0.5,
            device=backend.device,
        )
        anchors = generator(image_list, maps)
        assert len(anchors) == 2
        for of_image in anchors:
            assert_same(of_image, torch.cat(levels))


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
def test_kr_4_several_sizes_and_ratios_on_each_level(backend: Backend, convention: Convention) -> None:
    """Made on the device, cell by cell in the convention's order; the same tensor for the same sizes."""
    sizes, ratios = ((12, 17, 24), (32, 45, 64)), ((0.5, 1.0), (1.0, 3.0))
    generator = nn.AnchorGenerator(sizes, ratios, convention=convention, offset=0.25)
    assert generator.num_anchors_per_location() == [6, 6]
    _, maps = batch(40, 70, backend.device)
    cells = torchvision_cells if convention == "torchvision" else detectron2_cells
    wanted = [
        level_anchors(cells(sizes[0], ratios[0]), (5, 8), (8, 8), 0.25),
        level_anchors(cells(sizes[1], ratios[1]), (2, 4), (20, 17), 0.25),
    ]
    anchors = generator.grid((40, 70), maps)
    assert anchors.device.type == backend.device.type
    torch.testing.assert_close(anchors.cpu(), torch.cat(wanted))
    assert generator.grid((40, 70), [level[:1] for level in maps]) is anchors
    assert generator.grid((41, 70), maps) is anchors, "the same steps of 8 and 20, 8 and 17 pixels"


@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
def test_kr_4_strides_that_are_given(backend: Backend, convention: Convention) -> None:
    """As detectron2 is told them: a map that has been filled up does not move the anchors nearer together."""
    _, maps = batch(40, 70, backend.device)
    given = nn.AnchorGenerator(SIZES, RATIOS, convention=convention, strides=[8, 16])
    wanted = ldie_ext.grid_anchors(
        SIZES, RATIOS, [(5, 8), (2, 4)], [8, 16], convention=convention, device=backend.device
    )
    anchors = given.grid((40, 70), maps)
    assert_same(anchors, torch.cat(wanted))
    assert given.grid((999, 999), maps) is anchors, "nothing depends on the images' size"
    assert "strides=(8, 16)" in repr(given)
    derived = nn.AnchorGenerator(SIZES, RATIOS, convention=convention)
    assert not torch.equal(derived.grid((40, 70), maps), anchors)
    assert_same(derived.grid((40, 64), maps)[: 3 * 5 * 8], anchors[: 3 * 5 * 8])
    assert "strides" not in repr(derived)


def test_strides_need_one_for_each_level() -> None:
    for strides in ([8], []):
        with pytest.raises(ValueError, match=f"strides must be one for each of 2 levels, got {len(strides)}"):
            nn.AnchorGenerator(SIZES, RATIOS, strides=strides)


def test_empty_maps(backend: Backend) -> None:
    image_list, maps = batch(15, 9, backend.device)
    assert [level.shape[-2:] for level in maps] == [(1, 1), (0, 0)]
    assert [len(anchors) for anchors in nn.AnchorGenerator(SIZES, RATIOS)(image_list, maps)] == [3, 3]


def test_16_bit_maps_get_float32_anchors(backend: Backend) -> None:
    image_list, maps = batch(40, 4096, backend.device)
    halves = [level.half() for level in maps]
    generator = nn.AnchorGenerator(SIZES, RATIOS)
    assert_same(generator(image_list, halves)[0], generator(image_list, maps)[0])


def test_cache_keeps_and_forgets(backend: Backend) -> None:
    generator = nn.AnchorGenerator(SIZES, RATIOS)
    first = generator(*batch(40, 64, backend.device))[0]
    assert generator(*batch(40, 64, backend.device))[0] is first
    assert nn.AnchorGenerator((32, 64), [RATIOS] * 2)(*batch(40, 64, backend.device))[0] is first
    assert generator(*batch(48, 64, backend.device))[0] is not first
    for height in range(16, 16 + 8 * nn._MOST_CACHED, 8):
        generator(*batch(height, 16, backend.device))
    assert nn._cached_anchors.cache_info().currsize == nn._MOST_CACHED
    again = generator(*batch(40, 64, backend.device))[0]
    assert again is not first
    assert_same(again, first)


def test_evaluation_leaves_anchors_that_training_can_use() -> None:
    generator = nn.AnchorGenerator(SIZES, RATIOS)
    with torch.inference_mode():
        generator(*batch(40, 64, torch.device("cpu")))
    anchors = generator(*batch(40, 64, torch.device("cpu")))[0]
    assert not anchors.is_inference()


def test_fake_tensors_do_not_stay() -> None:
    generator = nn.AnchorGenerator(SIZES, RATIOS)
    with torch._subclasses.FakeTensorMode():
        fake = generator(*batch(40, 64, torch.device("cpu")))[0]
    assert fake.shape == (144, 4)
    assert type(generator(*batch(40, 64, torch.device("cpu")))[0]) is Tensor


def test_has_no_state() -> None:
    generator = nn.AnchorGenerator(SIZES, RATIOS)
    assert not generator.state_dict()
    assert generator.num_anchors_per_location() == [3, 3]
    assert nn.AnchorGenerator().num_anchors_per_location() == [9]
    assert "aspect_ratios=((0.5, 1.0, 2.0), (0.5, 1.0, 2.0))" in repr(copy.deepcopy(generator))


def test_docstring_example_runs() -> None:
    results = doctest.testmod(nn)
    assert results.attempted
    assert not results.failed


def test_compiles_and_exports() -> None:
    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = nn.AnchorGenerator(SIZES, RATIOS)

        def forward(self, images: Tensor) -> Tensor:
            maps = [images[..., ::8, ::8], images[..., ::16, ::16]]
            return self.generator(Images(images, [(64, 96)]), maps)[0]

    detector, small, large = Detector(), torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, 128, 80)
    assert_same(torch.compile(detector, fullgraph=True, backend="aot_eager")(small), detector(small))
    sides = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(detector, (small,), dynamic_shapes=(sides,)).module()
    for images in (small, large):
        assert_same(exported(images), detector(images))


def test_matches_torchvision() -> None:
    detection = pytest.importorskip("torchvision").models.detection
    image_list, maps = batch(200, 333, torch.device("cpu"), images=3)
    peer = detection.anchor_utils.AnchorGenerator(SIZES, (RATIOS,) * 2)
    images = detection.image_list.ImageList(image_list.tensors, image_list.image_sizes)
    anchors = nn.AnchorGenerator(SIZES, (RATIOS,) * 2)(images, maps)
    assert_same(tuple(anchors), tuple(peer(images, maps)))
