"""Frozen batch norm alone and inside a convolution: what an ordinary one in eval mode computes."""

from __future__ import annotations

import doctest

import pytest
import torch
from ldie.nn import FrozenBatchNorm2d, NormedConv2d, frozen_norm, norm_layer
from torch import nn


def trained_norm(channels: int, eps: float = 1e-5) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=eps)
    generator = torch.Generator().manual_seed(0)
    for value in (norm.weight.data, norm.running_var):
        value.uniform_(0.2, 2, generator=generator)
    for value in (norm.bias.data, norm.running_mean):
        value.normal_(generator=generator)
    return norm.eval()


def test_the_example_runs():
    assert doctest.testmod(frozen_norm).failed == 0


@pytest.mark.parametrize("eps", [0.0, 1e-5, 1e-2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_computes_what_batch_norm_does_in_eval_mode(eps, layout):
    norm, frozen = trained_norm(6, eps), FrozenBatchNorm2d(6, eps)
    frozen.load_state_dict(norm.state_dict())
    x = torch.randn(2, 6, 5, 4).to(memory_format=layout)
    found = frozen.train()(x)
    torch.testing.assert_close(found, norm(x))
    assert found.is_contiguous(memory_format=layout) and frozen(x[:0]).shape == (0, 6, 5, 4)


def test_it_loads_files_with_and_without_counter_and_has_none():
    frozen = FrozenBatchNorm2d(3)
    weights = trained_norm(3).state_dict()
    frozen.load_state_dict(weights)
    del weights["num_batches_tracked"]
    assert frozen.state_dict().keys() == weights.keys()
    frozen.load_state_dict(weights)
    weights.pop("bias")
    with pytest.raises(RuntimeError, match="bias"):
        frozen.load_state_dict(weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_factors_keep_their_precision_in_other_dtypes(dtype):
    frozen = FrozenBatchNorm2d(2, eps=1e-5)
    frozen.running_var.copy_(torch.tensor([1e-6, 1.0]))  # 1e-6 + 1e-5 rounds off in bfloat16
    expected = (torch.tensor([1e-6, 1.0], dtype=torch.float64) + 1e-5).rsqrt()
    scale, shift = frozen.to(dtype).factors()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert scale.dtype == shift.dtype == wide
    torch.testing.assert_close(scale.double(), expected, rtol=5e-3, atol=0)
    assert frozen(torch.ones(1, 2, 1, 1, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_with_a_frozen_norm_is_both_one_after_the_other(layout):
    torch.manual_seed(0)
    conv = NormedConv2d(4, 6, 3, stride=2, norm=norm_layer("frozen", 1e-3), relu=True).to(memory_format=layout)
    conv.norm.load_state_dict(trained_norm(6).state_dict())
    x = torch.randn(2, 4, 9, 8).to(memory_format=layout).requires_grad_()
    found = conv(x)
    expected = conv.norm(nn.functional.conv2d(x, conv.weight, stride=2, padding=1)).relu()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    target = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad((y * target).sum(), (x, conv.weight)) for y in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=layout)


def test_half_precision_takes_it_under_autocast_and_as_a_whole():
    conv = NormedConv2d(4, 6, 3, norm=norm_layer("frozen"))
    conv.norm.load_state_dict(trained_norm(6).state_dict())
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        expected = conv(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = conv(x)
        whole = conv.bfloat16()(x.bfloat16())
    assert found.dtype == whole.dtype == torch.bfloat16
    for y in (found, whole):
        torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(("name", "kind"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("none", type(None))])
def test_norms_by_name_and_biases_where_there_is_none(name, kind):
    conv = NormedConv2d(3, 8, 1, norm=norm_layer(name))
    assert isinstance(conv.norm, kind) and (conv.bias is not None) == (name == "none")
