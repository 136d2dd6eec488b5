# SPDX-License-Identifier: Apache-2.0
"""Masks of both generations are those of the convolutions that they stand for, one hypothesis at a time."""

from __future__ import annotations

import math
from itertools import pairwise, product
from unittest.mock import patch

import pytest
import torch
from ldie.systems.mask_pyramid.config import MaskConfig, MaskPyramidModel
from ldie.systems.mask_pyramid.generations import ConvMasks, Places, StateMasks, twice
from ldie.systems.mask_pyramid.hypotheses import Masks, Seeds, at_places, cells
from systems.mask_pyramid.helpers import CLASSES, seeds_at, small_config, small_model, truth_of
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (16, 8, 4)
MODES = ("onehot", "concat", "multiply", "add")
BATCH, SLOTS = 2, 3


def model_of(generation: int, **mask: object) -> MaskPyramidModel:
    return small_config(model={"mask": {"generation": generation, **mask}}).model


def lively(module: nn.Module) -> nn.Module:
    """With biases that are not 0."""
    for name, weight in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight)
    return module


def seeds(radius: float) -> Seeds:
    """With regions of 24 pixels; the last one of each image of another radius."""
    made = seeds_at([[(8.0, 8.0), (24.0, 40.0), (60.0, 4.0)], [(40.0, 40.0), (8.0, 56.0), (20.0, 12.0)]])
    made.births[:, -1, 2] = radius
    return made


def gaussian(config: MaskConfig, place: Tensor, radius: float, stride: int, size: tuple[int, int]) -> Tensor:
    """[h,w] of one hypothesis, by a loop over cells; place and radius in pixels."""
    made = torch.zeros(size)
    for y, x in product(*map(range, size)):
        dx, dy = ((side + 0.5) * stride - own.item() for side, own in zip((x, y), place))
        if config.gauss_mode == "onehot":
            made[y, x] = float(abs(dx) <= stride / 2 and abs(dy) <= stride / 2 and dx > -stride / 2 < dy)
        else:
            made[y, x] = math.exp(-math.log(2) * (dx**2 + dy**2) / radius**2)
    return made


def offsets(config: MaskConfig, place: Tensor, gauss: Tensor, radius: float, stride: int) -> list[Tensor]:
    """Two more channels, where they are wanted."""
    if not config.offsets:
        return []
    y, x = ((torch.arange(side) + 0.5) * stride for side in gauss.shape)
    return [((x - place[0]) / radius).expand_as(gauss), ((y - place[1]) / radius)[:, None].expand_as(gauss)]


def conv_of_concatenated(features: Tensor, own: list[Tensor], convs: tuple[nn.Module, nn.Module | None]) -> Tensor:
    """One convolution of ``cat(features, own)`` [C,h,w] -> [O,h,w]: the form of the seed."""
    shared, apart = convs
    assert isinstance(shared, nn.Conv2d) and shared.bias is not None
    weight = shared.weight if apart is None else torch.cat([shared.weight, apart.weight], 1)  # type: ignore[arg-type]
    inputs = torch.cat([features, *(each[None] for each in own)])
    return functional.conv2d(inputs[None], weight, shared.bias, padding=shared.kernel_size[0] // 2)[0]


def with_gauss(features: Tensor, gauss: Tensor, mode: str) -> Tensor:
    return features * gauss if mode == "multiply" else features + gauss if mode == "add" else features


def first_generation(masks: ConvMasks, features: Tensor, born: Seeds, level: int, before: Tensor | None) -> Tensor:
    """[B,A,O,h,w], hypothesis by hypothesis; ``before`` [B,N,h,w] are logits of the first ones on the level before."""
    config, stride = masks.config, STRIDES[level]
    at = min(level, 1) if config.share_across_levels else level
    deep = masks.deep[at](features)
    result = []
    for image, slot in product(range(BATCH), range(SLOTS)):
        place, radius = born.places[image, slot], born.radii[image, slot].item()
        gauss = gaussian(config, place, radius, stride, tuple(features.shape[2:]))
        own = [gauss, *offsets(config, place, gauss, radius, stride)]
        if before is not None and slot < before.shape[1]:
            own[0] = finer(before[image, slot].sigmoid(), features.shape[2:])
        inputs = with_gauss(deep[image], gauss, config.gauss_mode)
        result.append(conv_of_concatenated(inputs, own, (masks.shared[at], masks.own[at])))
    return torch.stack(result).unflatten(0, (BATCH, SLOTS))


def finer(map_: Tensor, size: torch.Size) -> Tensor:
    """[h,w] twice as fine."""
    twice_as_fine = functional.interpolate(map_[None, None], scale_factor=2.0, mode="bilinear", align_corners=False)
    return twice_as_fine[0, 0, : size[0], : size[1]]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("class_masks", [False, True])
@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_mp_18_first_generation_is_the_convolution_of_the_concatenated(
    mode: str, offsets: bool, class_masks: bool, share: bool
) -> None:
    """Of newborns and of those that have a mask, on maps with odd sides; also MP-9: depth and sharing."""
    mask = {"gauss_mode": mode, "offsets": offsets, "class_masks": class_masks, "share_across_levels": share}
    masks = lively(ConvMasks(model_of(1, **mask, init_depth=1, refine_depth=int(share))))
    assert isinstance(masks, ConvMasks)
    for level, size, known in ((0, (4, 4), 0), (1, (7, 8), 2), (2, (14, 15), 3)):
        features = torch.randn(BATCH, 16, *size, requires_grad=True)
        coarse = [(side + 1) // 2 for side in size]
        before = torch.randn(BATCH, known, *coarse, requires_grad=True) if known else None
        born = seeds(1.5 * STRIDES[level])
        found, _ = masks(features, born, None if before is None else Masks(before, None), level)
        assert found.shape[2] == (CLASSES if class_masks else 1)
        expected = first_generation(masks, features, born, level, before)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert_same_gradients(found, expected, [features, *([] if before is None else [before]), *masks.parameters()])


def assert_same_gradients(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """In all inputs and weights that are used, of the same slope in all outputs."""
    slope = torch.randn_like(found)
    ours, wanted = (torch.autograd.grad(maps, inputs, slope, allow_unused=True) for maps in (found, expected))
    for one, other in zip(ours, wanted):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(1.0, other.abs().max().item()))


def second_generation(
    masks: StateMasks, features: Tensor, born: Seeds, level: int, before: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits [B,A,O,h,w] and states [B,A,h,w,S] of all, of whom the first ones had states ``before`` [B,N,h,w,S]."""
    config, stride = masks.config, STRIDES[level]
    at, later = (min(level, 1), 0) if config.share_across_levels else (level, level - 1)
    states = []
    for image, slot in product(range(BATCH), range(SLOTS)):
        place, radius = born.places[image, slot], born.radii[image, slot].item()
        gauss = gaussian(config, place, radius, stride, tuple(features.shape[2:]))
        own = [gauss] if config.gauss_mode in ("onehot", "concat") else []
        own += offsets(config, place, gauss, radius, stride)
        inputs = with_gauss(features[image], gauss, config.gauss_mode)
        x = conv_of_concatenated(inputs, own, (masks.features[at], masks.own[at] if own else None))
        if before is not None and slot < before.shape[1]:
            known = torch.stack([finer(channel, features.shape[2:]) for channel in before[image, slot].unbind(2)])
            x = x + masks.states[later](known[None])[0]  # of the finer map, as published
        states.append(masks.blocks[at](x.relu()[None])[0])
    stacked = torch.stack(states).unflatten(0, (BATCH, SLOTS)).movedim(2, 4)
    return masks.out[at](stacked).movedim(4, 2), stacked


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_mp_13_second_generation_carries_channels_from_level_to_level(mode: str, offsets: bool, share: bool) -> None:
    """And W_h before its map is made finer is W_h after; MP-18: as ``cat`` of features, channels and place has it."""
    block = "basic" if share else "bottleneck"
    mask = {"gauss_mode": mode, "offsets": offsets, "share_across_levels": share, "block": block}
    masks = lively(StateMasks(model_of(2, **mask)))
    assert isinstance(masks, StateMasks)
    for level, size, known in ((0, (4, 4), 0), (1, (7, 8), 2), (2, (14, 15), 3)):
        features = torch.randn(BATCH, 16, *size, requires_grad=True)
        coarse = [(side + 1) // 2 for side in size]
        before = torch.randn(BATCH, known, *coarse, 16, requires_grad=True) if known else None
        born = seeds(1.5 * STRIDES[level])
        found = masks(features, born, None if before is None else Masks(torch.zeros(()), before), level)
        expected = second_generation(masks, features, born, level, before)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        inputs = [features, *([] if before is None else [before]), *masks.parameters()]
        assert_same_gradients(found[0], expected[0], inputs)


@pytest.mark.parametrize("generation", [1, 2])
def test_mp_9_depth_and_sharing_are_what_they_say(generation: int) -> None:
    """Layers of each level, or of the coarsest and of all others."""

    def layers(**mask: object) -> list[int]:
        masks = (ConvMasks if generation == 1 else StateMasks)(model_of(generation, **mask))
        return [len(own) for own in (masks.deep if isinstance(masks, ConvMasks) else masks.blocks)]  # type: ignore[arg-type]

    assert layers(init_depth=0, refine_depth=0) == [0, 0, 0]
    assert layers(init_depth=3, refine_depth=2) == [3, 2, 2]
    assert layers(init_depth=3, refine_depth=2, share_across_levels=True) == [3, 2]


@pytest.mark.parametrize("generation", [1, 2])
def test_mp_9_masks_of_classes_are_chosen_by_class(generation: int) -> None:
    """In training that of the object that is learnt; otherwise the strongest at the place."""
    sections = {"mask": {"generation": generation, "class_masks": True}}
    model = small_model(model=sections)
    logits = torch.randn(1, 2, CLASSES, 4, 4)
    born = seeds_at([[(8.0, 8.0), (24.0, 40.0)]])._replace(objects=torch.tensor([[-1, 0]]))
    truth = truth_of([torch.ones(1, 4, 4, dtype=torch.bool)] * 3, [[0]])
    truth.labels[0] = 2
    with patch.object(type(model.growth.masks), "forward", lambda *_: (logits, None)):
        for known, second in ((None, logits[0, 1, :, 2, 1].argmax()), (truth, 2)):
            chosen = model.growth._grown(0, torch.zeros(1, 16, 4, 4), born, None, known).masks.logits
            assert torch.equal(chosen[0, 0], logits[0, 0, logits[0, 0, :, 0, 0].argmax()])
            assert torch.equal(chosen[0, 1], logits[0, 1, second])


@pytest.mark.parametrize("kind", ["half", "fwhm", "sigma"])
def test_mp_21_gaussians_are_those_of_the_formulas(kind: str) -> None:
    """``half``, the third of the seed's formulas, is what ``gauss_radius`` means by default."""
    radius = 2.5
    places = Places(MaskConfig(gauss_kind=kind), STRIDES)  # type: ignore[arg-type]
    born = seeds_at([[(24.0, 40.0)]], 16 * radius)
    (found,) = places.gaussians(born, 0, torch.zeros(1, 1, 9, 9))[0]
    factor = {"half": math.log(2), "fwhm": 4 * math.log(2), "sigma": 0.5}[kind]
    for y, x in product(range(9), range(9)):
        distance = (x - 1) ** 2 + (y - 2) ** 2
        assert found[y, x].item() == pytest.approx(math.exp(-factor * distance / radius**2), rel=1e-5, abs=1e-7)
    assert MaskConfig().gauss_kind == "half"
    half = {"half": radius, "fwhm": radius / 2, "sigma": radius * math.sqrt(2 * math.log(2))}[kind]
    assert math.exp(-factor * half**2 / radius**2) == pytest.approx(0.5), "where it is half as high"


def test_mp_21_all_levels_have_the_same_region_of_the_image() -> None:
    """As fine as the level is; pooled, it is that of the coarse one, but for what it bends within a cell."""
    places = Places(MaskConfig(), STRIDES)
    born = seeds_at([[(24.0, 40.0)]], 32.0)
    coarse = places.gaussians(born, 0, torch.zeros(1, 1, 6, 6))
    for level, stride in ((1, 8), (2, 4)):
        fine = places.gaussians(born, level, torch.zeros(1, 1, 96 // stride, 96 // stride))
        y, x = ((torch.arange(96 // stride) + 0.5) * stride for _ in range(2))
        distance = (y[:, None] - 40) ** 2 + (x - 24) ** 2
        expected = torch.exp(-math.log(2) * distance / 32.0**2)
        torch.testing.assert_close(fine[0, 0], expected)
        pooled = functional.avg_pool2d(fine, 16 // stride)
        torch.testing.assert_close(pooled, coarse, atol=0.04, rtol=0)


def test_mp_17_places_of_levels_are_middles_of_cells() -> None:
    """``p_m = (p_l + .5) * size_m / size_l - .5``: no shift to the upper left from level to level."""
    size_l, size_m = 4, 16
    for p_l in range(size_l):
        p_m = (p_l + 0.5) * size_m / size_l - 0.5
        (born,) = seeds_at([[((p_l + 0.5) * 16, (p_l + 0.5) * 16)]]).places
        assert (born / 4 - 0.5).tolist() == [[p_m, p_m]]
        where = cells(born, 4, (size_m, size_m))
        assert divmod(int(where), size_m) == (math.floor(p_m + 0.5),) * 2, "of the four in the middle, the last"
        assert int(cells(born, 16, (size_l, size_l))) == p_l * size_l + p_l, "on its own level, its own cell"


def test_mp_17_a_mask_made_finer_stays_where_it_is() -> None:
    """Its centre of mass in the image does, also on maps whose sides are not twice the coarser ones."""
    for size, coarse in (((8, 8), (4, 4)), ((7, 7), (4, 4)), ((13, 21), (7, 11))):
        mask = torch.zeros(1, 1, *coarse)
        mask[0, 0, 1:3, 1] = 1
        made = twice(mask, torch.Size(size))
        assert made.shape[2:] == size
        for axis in (0, 1):
            before, after = (
                ((torch.arange(each.shape[2 + axis]) + 0.5) * stride * each[0, 0].sum(1 - axis)).sum() / each.sum()
                for each, stride in ((mask, 2), (made, 1))
            )
            assert after.item() == pytest.approx(before.item(), abs=1e-5)


@pytest.mark.parametrize("generation", [1, 2])
def test_mp_17_pyramids_move_with_the_image(generation: int) -> None:
    """By whole cells of the coarsest level, all levels' masks are the same ones, moved."""
    masks = small_model(model={"mask": {"generation": generation}}).growth.masks
    features = [torch.ones(1, 16, side, side) for side in (16, 32, 64)]
    made = []
    for middle in (120.0, 136.0):
        born = seeds_at([[(middle, middle)]])
        levels, own = [], None
        for level, maps in enumerate(features):
            logits, states = masks(maps, born, own, level)
            levels.append(logits)
            own = Masks(logits[:, :, 0], states)
        near = [slice(int(middle - 24) // stride, int(middle + 24) // stride) for stride in STRIDES]
        made.append([own[0, 0, 0, part, part] for own, part in zip(levels, near)])
    for one, moved in zip(*made):
        assert one.std() > 1e-4
        torch.testing.assert_close(moved, one, rtol=0, atol=0.01 * one.std().item())


STARTS = [(64, 64, 8, 8), (64, 64, 16, 8), (72, 104, 32, 8), (90, 70, 64, 8), (136, 200, 128, 8), (160, 96, 1024, 4)]


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(("height", "width", "start", "last"), STARTS)
def test_mp_3_pyramids_start_at_any_stride(height: int, width: int, start: int, last: int, generation: int) -> None:
    """Of batches whose sides are no multiples of it: each level covers the image."""
    model = small_model(
        model={
            "start_stride": start,
            "last_stride": last,
            "mask": {"generation": generation},
            "growth": {"max_alive": [64], "newborns": [2]},
        }
    )
    images = torch.randn(2, 3, -(-height // 16) * 16, -(-width // 16) * 16)
    sizes = torch.tensor([[height, width], [height // 2, width]])
    with torch.no_grad():
        pyramid = model(images, sizes)
    strides = [start >> level for level in range(int(math.log2(start / last)) + 1)]
    assert list(model.config.model.strides) == strides and len(pyramid.levels) == len(strides)
    for stride, level in zip(strides, pyramid.levels):
        size = tuple(-(-side // stride) for side in images.shape[2:])
        assert level.hypotheses.masks.logits.shape[2:] == size
        assert level.hypotheses.masks.logits.isfinite().all()
    cells_inside = [math.ceil(h / start) * math.ceil(w / start) for h, w in sizes.tolist()]
    assert pyramid.levels[0].born.tolist() == cells_inside, "every cell of the image, and none beside it"


def test_mp_3_start_strides_are_powers_of_two_up_to_1024() -> None:
    for start in (8, 16, 32, 64, 128, 256, 512, 1024):
        strides = small_config(model={"start_stride": start, "last_stride": 8}).model.strides
        assert (strides[0], strides[-1]) == (start, 8)
        assert all(coarse == 2 * fine for coarse, fine in pairwise(strides))


def test_at_places_reads_the_cell_of_a_place() -> None:
    maps = torch.arange(2 * 2 * 12.0).reshape(2, 2, 3, 4)
    places = torch.tensor([[[4.0, 4.0], [31.9, 23.9]], [[8.0, 0.0], [99.0, -5.0]]])
    assert at_places(maps, places, 8).tolist() == [[0.0, 12 + 11.0], [24 + 1.0, 36 + 3.0]]
