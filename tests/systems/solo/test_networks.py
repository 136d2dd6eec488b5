# SPDX-License-Identifier: Apache-2.0
"""The pyramid's maps on their way to the head, and the head: sizes, values, and what keys add."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ldie.config import merge
from ldie.errors import ConfigError
from ldie.nn.feature_pyramid import FeaturePyramid
from ldie.systems.solo import SOLOConfig
from ldie.systems.solo.config import SOLOModel
from ldie.systems.solo.head import SOLOHead, coordinates
from ldie.systems.solo.levels import Levels
from systems.solo.helpers import CLASSES, SMALL, small_config, small_model
from torch import Tensor, nn
from torch.nn import functional

CHANNEL = SMALL.model.backbone.pyramid_channel


def model_config(**sections: Any) -> SOLOModel:
    """The small one with something else in it."""
    return small_config(model=sections).model


def maps_of(strides: tuple[int, ...], channel: int = CHANNEL, size: tuple[int, int] = (64, 128)) -> list[Tensor]:
    """Random maps of two images."""
    return [torch.randn(2, channel, size[0] // stride, size[1] // stride) for stride in strides]


def head_and_levels(**head: Any) -> tuple[SOLOHead, list[Tensor]]:
    """A head whose norms do not begin as the identity, and maps for it."""
    config = model_config(head=head)
    made = SOLOHead(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    return made, maps_of(config.head.strides)


@pytest.mark.parametrize("align_corners", [False, True])
def test_so_2_the_finest_map_is_made_coarser_and_the_coarsest_finer(align_corners: bool) -> None:
    """As published, five maps of strides 4 to 64: p2 down to 8, p6 up to 32, the others as they are."""
    config = merge(SOLOConfig(), {"model": {"head": {"align_corners": align_corners}}}).model
    assert (config.backbone.strides, config.head.strides) == ((4, 8, 16, 32, 64), (8, 8, 16, 32, 32))
    maps = maps_of(config.backbone.strides, size=(256, 384))
    levels = Levels(config)(maps)
    assert [tuple(level.shape[2:]) for level in levels] == [(256 // s, 384 // s) for s in config.head.strides]
    for index, size in ((0, (32, 48)), (4, (8, 12))):
        expected = functional.interpolate(maps[index], size, mode="bilinear", align_corners=align_corners)
        assert torch.equal(levels[index], expected)
    assert all(torch.equal(levels[index], maps[index]) for index in (1, 2, 3))
    assert torch.allclose(levels[0], functional.avg_pool2d(maps[0], 2), atol=1e-5) == (not align_corners)


@pytest.mark.parametrize("coord_norm", [True, False])
def test_so_3_the_convolution_that_sees_coordinates_has_a_norm(coord_norm: bool) -> None:
    head = SOLOHead(model_config(head={"coord_norm": coord_norm}))
    first, *rest = head.mask_convs
    assert isinstance(first.norm, nn.GroupNorm) == coord_norm
    assert (first.bias is None) == coord_norm and first.in_channels == CHANNEL + 2
    assert all(isinstance(conv.norm, nn.GroupNorm) for conv in (*rest, *head.cls_convs))
    assert SOLOConfig().model.head.coord_norm


def test_so_3_coordinates_are_those_of_the_image() -> None:
    x, y = coordinates(torch.zeros(2, 5, 3, 4))[1]
    torch.testing.assert_close(x, torch.tensor([-1, -1 / 3, 1 / 3, 1]).expand(3, 4))
    torch.testing.assert_close(y, torch.tensor([-1.0, 0, 1])[:, None].expand(3, 4))


def test_so_4_maps_are_those_of_a_plain_feature_pyramid() -> None:
    """By default p2 to p6 of 256 channels, without norms or more convolutions, p6 every second cell of p5."""
    config = SOLOConfig().model
    assert (config.backbone.pyramid_channel, config.backbone.pyramid_norm) == (256, "none")
    assert (config.fpn_convs, config.fpn_relu) == (0, False)
    model = small_model()
    assert isinstance(model.backbone, FeaturePyramid)
    assert not list(model.levels.parameters())
    maps = model.backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in maps] == [(CHANNEL, 64 // s, 96 // s) for s in (4, 8, 16)]
    assert torch.equal(maps[-1], maps[-2][:, :, ::2, ::2])


@pytest.mark.parametrize("relu", [False, True])
def test_so_8_more_convolutions_on_the_pyramid_are_the_same_for_all_maps(relu: bool) -> None:
    config = model_config(fpn_convs=2, fpn_relu=relu)
    levels, maps = Levels(config), maps_of(config.backbone.strides)
    for index in (0, 2):
        x = maps[index].relu() if relu else maps[index]
        for conv in levels.fpn_convs:
            x = functional.conv2d(x, conv.weight, conv.bias, padding=1)
            x = x.relu() if relu else x
        size = [side // config.head.strides[index] for side in (64, 128)]
        expected = functional.interpolate(x, size, mode="bilinear")
        torch.testing.assert_close(levels(maps)[index], expected)


def normed(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution of the branches, written out."""
    x = functional.conv2d(x, conv.weight, conv.bias, padding=1)
    norm = conv.norm
    if isinstance(norm, nn.GroupNorm):
        groups = x.unflatten(1, (norm.num_groups, -1)).flatten(2)
        off = groups - groups.mean(2, keepdim=True)
        x = (off / (off.pow(2).mean(2, keepdim=True) + norm.eps).sqrt()).view_as(x)
        x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    return x.clamp(min=0)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("kernel", "per_level"), [(3, False), (1, True)])
def test_categories_are_those_of_the_map_in_the_grids_size(align_corners: bool, kernel: int, per_level: bool) -> None:
    head, levels = head_and_levels(align_corners=align_corners, category_kernel=kernel, category_per_level=per_level)
    for index, (level, grid) in enumerate(zip(levels, head.config.grids)):
        x = functional.interpolate(level, (grid, grid), mode="bilinear", align_corners=align_corners)
        for conv in head.cls_convs:
            x = normed(x, conv)
        last = head.conv_cls[index] if per_level else head.conv_cls
        assert isinstance(last, nn.Conv2d) and last.weight.shape == (CLASSES, 32, kernel, kernel)
        expected = functional.conv2d(x, last.weight, last.bias, padding=kernel // 2)
        torch.testing.assert_close(head(levels).categories[index], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coord_norm", [True, False])
@pytest.mark.parametrize("upsample", ["before", "after"])
def test_so_6_masks_of_single_places_are_those_of_all(upsample: str, coord_norm: bool) -> None:
    """The last layer of the masks, of single channels: the same as of all channels, of which some are taken."""
    head, levels = head_and_levels(upsample_pos=upsample, coord_norm=coord_norm)
    outlook = head(levels)
    for index, level in enumerate(levels):
        x = torch.cat([level, coordinates(level)], 1)
        if upsample == "before":
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        for conv in head.mask_convs:
            x = normed(x, conv)
        last = head.conv_mask_list[index]
        assert isinstance(last, nn.Conv2d)
        everything = functional.conv2d(x, last.weight, last.bias)
        counts, places = [3, 2], torch.tensor([0, 5, 15, 5, 7])
        expected = torch.cat([everything[0, places[:3]], everything[1, places[3:]]])
        found = head.masks(outlook.features[index], index, counts, places)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        for counts in ([0, 5], [5, 0], [0, 0]):
            places = torch.tensor([5, 7, 5, 0, 1])[: sum(counts)]
            image = 0 if counts[0] else 1
            found = head.masks(outlook.features[index], index, counts, places)
            torch.testing.assert_close(found, everything[image, places], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_masks_start_where_the_configuration_says(prior: float) -> None:
    """Half of the pixels, or next to none."""
    for conv in SOLOHead(model_config(head={"mask_prior": prior})).conv_mask_list:
        assert torch.allclose(conv.get_parameter("bias").sigmoid(), torch.tensor(prior))


def test_scores_start_at_one_in_a_hundred() -> None:
    """So that the many places without an object do not drown the others at the start."""
    for per_level in (False, True):
        head = SOLOHead(model_config(head={"category_per_level": per_level}))
        biases = [weight for name, weight in head.named_parameters() if "conv_cls" in name and name.endswith("bias")]
        assert len(biases) == (3 if per_level else 1)
        for bias in biases:
            assert bias.sigmoid().tolist() == pytest.approx([0.01] * CLASSES)
            assert bias[0].item() == pytest.approx(-math.log(99))
    softmax = SOLOHead(model_config(head={"category": "softmax"}))
    assert isinstance(softmax.conv_cls, nn.Conv2d) and not softmax.conv_cls.bias.any()
    assert softmax.conv_cls.out_channels == CLASSES + 1


WRONG = {
    "grids for maps that are not there": (
        {"model": {"head": {"grids": [8] * 4, "strides": [8] * 4}}},
        "for each of 1 to 3",
    ),
    "grids and strides": ({"model": {"head": {"grids": [8, 6]}}}, r"got \[8, 6\] and \[8, 8, 16\]"),
    "no power of two": ({"model": {"head": {"strides": [8, 8, 12]}}}, "takes powers of two from 2 on, got 12"),
    "stride 1": ({"model": {"head": {"strides": [1, 8, 16]}}}, "takes powers of two from 2 on, got 1"),
    "ranges": (
        {"solver": {"assign": {"scale_ranges": [[0, 9]]}}},
        r"one pair for each of the 3 levels .*\[\[0.0, 9.0\]\]",
    ),
    "falling range": (
        {"solver": {"assign": {"scale_ranges": [[0, 9], [8, 4], [9, 99]]}}},
        r"solver.assign.scale_ranges takes pairs of rising numbers, got \[8.0, 4.0\]",
    ),
    "loss coarser than masks": (
        {"solver": {"multi_scale_loss": False, "loss_stride": 8}, "model": {"head": {"upsample_pos": "before"}}},
        "solver.loss_stride must be at most 4, the stride of the finest masks",
    ),
    "padding": ({"input": {"multiple": 8}}, "input.multiple must be a multiple of 16, the largest of .*, got 8"),
    "padding of a pyramid that is coarser": (
        {"model": {"head": {"strides": [2, 2, 2]}}, "input": {"multiple": 2}},
        "input.multiple must be a multiple of 4, the largest of .* the pyramid's finest stride, got 2",
    ),
    "a norm of single numbers": (
        {"model": {"head": {"grids": [8, 6, 1]}}},
        r"model.head.grids must be at least 2 .* \(model.head.channel=32\), .*, got \[8, 6, 1\]",
    ),
    "target mode": ({"solver": {"mask_targets": "binary"}}, "mask_targets"),
    "loss stride": ({"solver": {"loss_stride": 16}}, "loss_stride"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_one_line(name: str) -> None:
    sections, message = WRONG[name]
    with pytest.raises(ConfigError, match=message) as error:
        small_model(**sections)
    assert "\n" not in str(error.value)
