"""Residual networks and pyramids: shapes, names, where they halve, what stays frozen."""

from __future__ import annotations

import pytest
import torch
from ldie.nn import FeaturePyramid, ResNet, norm_layer
from torch import nn

SMALL = {"stem_channel": 8, "blocks": (2, 1, 1), "widths": (8, 16, 24), "normalization": "batch"}


@pytest.mark.parametrize("stem", ["conv7", "conv3"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("size", [(64, 96), (65, 83), (33, 5)])
def test_stage_s_has_stride_two_to_the_s(stem, block, size):
    maps = ResNet(stem=stem, block=block, **SMALL)(torch.rand(2, 3, *size))
    expected = [(width, *(-(-side // stride) for side in size)) for width, stride in zip((8, 16, 24), (4, 8, 16))]
    assert [tuple(level.shape[1:]) for level in maps] == expected


def test_the_names_of_both_blocks():
    basic, bottleneck = (ResNet(block=block, **SMALL).state_dict() for block in ("basic", "bottleneck"))
    convs = {name.removesuffix(".weight") for name, value in basic.items() if value.ndim == 4}
    assert convs == {
        "stem.conv1", "res2.0.conv1", "res2.0.conv2", "res2.1.conv1", "res2.1.conv2",
        "res3.0.conv1", "res3.0.conv2", "res3.0.shortcut", "res4.0.conv1", "res4.0.conv2", "res4.0.shortcut",
    }  # fmt: skip
    assert bottleneck["res3.0.conv2.weight"].shape == (4, 4, 3, 3)  # a quarter of the stage's width
    assert bottleneck["res3.0.conv3.norm.running_mean"].shape == (16,)


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_where_a_bottleneck_halves(stride_in_1x1):
    block = ResNet(stride_in_1x1=stride_in_1x1, **SMALL).get_submodule("res3.0")
    strides = [block.get_submodule(name).stride[0] for name in ("conv1", "conv2", "conv3", "shortcut")]
    assert strides == ([2, 1, 1, 2] if stride_in_1x1 else [1, 2, 1, 2])


def test_frozen_parts_stay_frozen_when_training_begins_again():
    network = ResNet(**SMALL)
    network.freeze(2)
    for _ in range(2):
        network.eval()
        network.train()
    modes = {name: module.training for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name: not name.startswith(("stem", "res2")) for name in modes} == modes
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, _ in network.named_parameters() if name.startswith(("res3", "res4"))}


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_pyramid_of_maps_that_are_not_halves_of_each_other(norm):
    pyramid = FeaturePyramid(ResNet(**SMALL), 12, norm_layer(norm))
    maps = pyramid(torch.rand(1, 3, 75, 41))
    assert [tuple(level.shape) for level in maps] == [
        (1, 12, 19, 11), (1, 12, 10, 6), (1, 12, 5, 3), (1, 12, 3, 2),
    ]  # fmt: skip
    assert torch.equal(maps[3], maps[2][:, :, ::2, ::2])
    names = {name for name in pyramid.state_dict() if name.startswith("fpn") and not name.endswith("tracked")}
    parts = ["weight", "bias"] if norm == "none" else ["weight", *(f"norm.{part}" for part in (
        "weight", "bias", "running_mean", "running_var"))]  # fmt: skip
    assert names == {f"fpn_{kind}{s}.{part}" for kind in ("lateral", "output") for s in (2, 3, 4) for part in parts}


def test_coarse_maps_reach_the_finest():
    """With laterals that hand through and outputs that do nothing, every map is the sum of what stands above it."""
    network = ResNet(**SMALL)
    pyramid = FeaturePyramid(network, 1).eval()
    with torch.no_grad():
        for stage in (2, 3, 4):
            lateral, output = (pyramid.get_submodule(f"fpn_{kind}{stage}") for kind in ("lateral", "output"))
            lateral.weight.fill_(1)
            output.weight.zero_()
            output.weight[:, :, 1, 1] = 1
        images = torch.rand(1, 3, 64, 64)
        sums = [level.sum(1, keepdim=True) for level in network.eval()(images)]
        maps = pyramid(images)
    grown = [nn.functional.interpolate(level, size=(16, 16), mode="nearest") for level in sums]
    torch.testing.assert_close(maps[0], sum(grown), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps[2], sums[2], rtol=1e-4, atol=1e-4)
