"""Every op under torch.compile with inductor, which believes what the fakes say of shapes, dtypes and strides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import op_cases
import pytest
import torch
from op_cases import CASES, ENDED, SIZES, Case
from op_checks import assert_same
from torch import Tensor
from torch._inductor.utils import fresh_cache

import ldie_ext

ODD = 7
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(autouse=True, scope="module")
def own_cache() -> Iterator[None]:
    """Inductor keeps code for AVX-512 and takes it where torch was told to use AVX2, whose vectors are shorter."""
    with fresh_cache():
        yield


def contiguous(tensor: Tensor) -> Tensor:
    return tensor


def channels_last(tensor: Tensor) -> Tensor:
    """Images with their channels innermost; tables and masks column by column."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.mT.contiguous().mT if tensor.dim() in (2, 3) else tensor


def odd_strides(tensor: Tensor) -> Tensor:
    """Channels last, with a stride that means nothing wherever a dimension has one element."""
    laid = channels_last(tensor)
    strides = [ODD if size == 1 else stride for size, stride in zip(laid.shape, laid.stride(), strict=True)]
    return laid.as_strided(laid.shape, strides)


def inputs_of(case: Case, lay_out: Callable[[Tensor], Tensor]) -> list[Tensor]:
    return [lay_out(tensor).requires_grad_(i in case.gradients) for i, tensor in enumerate(case.inputs())]


def compiled(case: Case, *, dynamic: bool = False) -> Case:
    """The case with its call compiled, into one graph unless it has to read sizes on the way."""
    torch._dynamo.reset()
    return replace(case, call=torch.compile(case.call, fullgraph=case.waits not in (SIZES, ENDED), dynamic=dynamic))


def assert_compiled_agrees(compiled: Case, eager: Case, inputs: list[Tensor]) -> None:
    """Values, and the strides that mean something."""
    expected, found = eager.run(inputs), compiled.run(inputs)
    assert_same(tuple(found), tuple(expected))
    assert [strides(tensor) for tensor in found] == [strides(tensor) for tensor in expected]


def strides(tensor: Tensor) -> list[int]:
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


@EACH_CASE
@pytest.mark.parametrize("lay_out", [contiguous, channels_last])
def test_compiles_in_layout(case: Case, lay_out: Callable[[Tensor], Tensor]) -> None:
    assert_compiled_agrees(compiled(case), case, inputs_of(case, lay_out))


@EACH_CASE
def test_compiles_with_odd_strides_of_single_elements(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_cases, "BATCH", 1)
    monkeypatch.setattr(op_cases, "COUNT", 1)
    assert_compiled_agrees(compiled(case), case, inputs_of(case, odd_strides))


@EACH_CASE
def test_compiles_once_for_all_counts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    once = compiled(case, dynamic=True)
    assert_compiled_agrees(once, case, inputs_of(case, contiguous))
    monkeypatch.setattr(op_cases, "COUNT", 12)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_compiled_agrees(once, case, inputs_of(case, contiguous))


@pytest.mark.parametrize("shape", [(1, 8, 16, 16), (2, 8, 1, 16), (2, 8, 16, 1)], ids=str)
def test_single_elements_do_not_hide_channels_last(shape: tuple[int, ...]) -> None:
    """Eager, compiled and backward alike, whatever the stride of the dimension with one element."""
    features = odd_strides(torch.randn(shape)).requires_grad_()
    rois = torch.tensor([[0.0, 1.0, 1.0, 9.0, 9.0], [0.0, 0.0, 0.0, 12.0, 14.0]])
    for pool in (ldie_ext.roi_align, torch.compile(ldie_ext.roi_align, fullgraph=True)):
        pooled = pool(features, rois, 3)
        (gradient,) = torch.autograd.grad(pooled.sum(), features)
        assert pooled.is_contiguous(memory_format=torch.channels_last)
        assert gradient.is_contiguous(memory_format=torch.channels_last)
