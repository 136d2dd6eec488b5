"""nn.DeformConv2d: torchvision's constructor, initialisation and state."""

from __future__ import annotations

import pytest
import torch

import ldie_ext
from ldie_ext.nn import DeformConv2d


def test_it_calls_the_op() -> None:
    layer = DeformConv2d(4, 6, kernel_size=3, stride=2, padding=1, dilation=1, groups=2)
    image, offset, mask = torch.randn(2, 4, 9, 9), torch.randn(2, 18, 5, 5), torch.rand(2, 9, 5, 5)
    expected = ldie_ext.deform_conv2d(image, offset, layer.weight, layer.bias, 2, 1, 1, mask)
    torch.testing.assert_close(layer(image, offset, mask), expected)
    assert layer.weight.shape == (6, 2, 3, 3)
    assert DeformConv2d(4, 6, 1, bias=False).bias is None


def test_it_prints_what_it_is() -> None:
    assert str(DeformConv2d(4, 6, 3)) == "DeformConv2d(4, 6, kernel_size=(3, 3), stride=(1, 1))"
    layer = DeformConv2d(4, 6, (1, 3), padding=1, dilation=2, groups=2, bias=False)
    assert str(layer).endswith("padding=(1, 1), dilation=(2, 2), groups=2, bias=False)")


def test_channels_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="in_channels must be divisible by groups"):
        DeformConv2d(5, 6, 3, groups=2)
    with pytest.raises(ValueError, match="out_channels must be divisible by groups"):
        DeformConv2d(4, 5, 3, groups=2)


def test_state_and_initialisation_are_torchvisions() -> None:
    tv = pytest.importorskip("torchvision").ops
    torch.manual_seed(1)
    theirs = tv.DeformConv2d(4, 6, 3, padding=1)
    torch.manual_seed(1)
    ours = DeformConv2d(4, 6, 3, padding=1)
    assert str(ours) == str(theirs)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=0)
