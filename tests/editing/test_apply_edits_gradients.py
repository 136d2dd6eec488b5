"""Gradients of apply_edits: by differences away from kinks, by symmetry at them."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from editing.edit_inputs import CHAIN, OPERATORS, Edits, masked, random_row, sequences
from op_checks import assert_same
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

DIFFERENTIABLE = [op for op in OPERATORS if op is not EditOp.COLOR_BG]


def gradients(images: Tensor, edits: Edits, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    leaves = images.detach().requires_grad_(), edits.params.detach().requires_grad_()
    out = Edits(edits.ops, leaves[1], edits.masks, edits.mask_index, edits.exclusive).on(leaves[0])
    return torch.autograd.grad(out, leaves, torch.ones_like(out) if weights is None else weights)  # type: ignore[return-value]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_gradcheck(backend: Backend, op: EditOp) -> None:
    images = torch.rand(2, 3, 2, 4, dtype=torch.float64, device=backend.device)
    for soft in (None, True, False):
        edits = sequences([[op]] * 2, inside=0.9)
        if soft is not None:
            edits = masked(edits, 2, 4, soft=soft)
        edits = edits.to(backend.device)
        params = edits.params.double()
        rest = edits.masks, edits.mask_index, edits.exclusive
        assert torch.autograd.gradcheck(
            lambda images, params, ops=edits.ops, rest=rest: ldie_ext.apply_edits(images, ops, params, *rest),
            (images.requires_grad_(), params.requires_grad_()),
            eps=1e-7,
            atol=1e-5,
        )


def test_gradcheck_of_a_chain(backend: Backend) -> None:
    images = torch.rand(1, 3, 2, 3, dtype=torch.float64, device=backend.device).requires_grad_()
    ops = torch.tensor([[*CHAIN, EditOp.NONE, EditOp.HUE, EditOp.LIGHTNESS]], device=backend.device)
    params = torch.stack([random_row(EditOp(op), 0.3) for op in ops[0].tolist()])[None].double()
    params = params.to(backend.device).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda images, params: ldie_ext.apply_edits(images, ops, params), (images, params), eps=1e-7, atol=1e-5
    )


def composed_brightness(x: Tensor, p: Tensor) -> Tensor:
    return torch.minimum((1 + p).clamp(min=0), 1 / x.amax(1, keepdim=True).clamp(min=1e-12)) * x


def composed_saturation(x: Tensor, p: Tensor) -> Tensor:
    value = x.amax(1, keepdim=True)
    chroma = value - x.amin(1, keepdim=True)
    most = torch.where(chroma > 0, value / torch.where(chroma > 0, chroma, 1), torch.inf)  # grey and black have no end
    return value - torch.minimum((1 + p).clamp(min=0), most) * (value - x)


def tied(device: torch.device) -> Tensor:
    """Grey, black and white pixels, and each pair of channels equal above and below the third; a plain one."""
    pixels = [
        (0.5, 0.5, 0.5), (0, 0, 0), (1, 1, 1), (0.6, 0.6, 0.3), (0.6, 0.3, 0.6), (0.3, 0.6, 0.6),
        (0.7, 0.2, 0.2), (0.2, 0.7, 0.2), (0.2, 0.2, 0.7), (0.9, 0.5, 0.1),
    ]  # fmt: skip
    return torch.tensor(pixels, dtype=torch.float64, device=device).t().reshape(1, 3, 2, 5).contiguous()


@pytest.mark.parametrize("amount", [-0.4, 0.3, 1.9])
@pytest.mark.parametrize(
    ("op", "composed"), [(EditOp.BRIGHTNESS, composed_brightness), (EditOp.SATURATION, composed_saturation)]
)
def test_ties_split_as_torch_splits_them(backend: Backend, op: EditOp, composed: object, amount: float) -> None:
    images = tied(backend.device)
    weights = torch.rand_like(images)
    params = torch.zeros(1, 1, 24, dtype=torch.float64, device=backend.device)
    params[..., 0] = amount
    ops = torch.tensor([[op]], device=backend.device)
    leaves = images.clone().requires_grad_(), params[..., :1, None].clone().requires_grad_()
    wanted = torch.autograd.grad(composed(*leaves), leaves, weights)  # type: ignore[operator]
    found = gradients(images, Edits(ops, params), weights)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[1][0, 0, 0], wanted[1].squeeze(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("op", [EditOp.HUE, EditOp.COLORIZE, EditOp.LIGHTNESS], ids=lambda op: op.name)
def test_two_equal_channels_have_the_mean_of_both_sides(backend: Backend, op: EditOp) -> None:
    """The gradients just beside a tie, one channel above and the other above."""
    images = tied(backend.device)[..., 3:4].expand(1, 3, 2, 6).contiguous()
    pairs = [(0, 1), (0, 2), (1, 2)]
    for first, second in pairs:
        for high in (True, False):
            pixel = torch.full((3,), 0.3 if high else 0.6, dtype=torch.float64)
            pixel[[first, second]] = 0.6 if high else 0.3
            images = pixel.view(1, 3, 1, 1).to(backend.device)
            edits = sequences([[op]], inside=0.4).to(backend.device)
            edits.params = edits.params.double()
            weights = torch.rand_like(images)
            at_tie, *_ = gradients(images, edits, weights)
            beside = []
            for channel in (first, second):
                moved = images.clone()
                moved[0, channel] += 1e-7
                beside.append(gradients(moved, edits, weights)[0])
            torch.testing.assert_close(at_tie, (beside[0] + beside[1]) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_no_edit_has_the_gradient_of_none(backend: Backend, op: EditOp) -> None:
    """Also where channels are equal, but for grey, which has no hue."""
    if op is EditOp.COLORIZE:
        pytest.skip("has no parameter that changes nothing")
    images = tied(backend.device)
    if op is EditOp.HUE:
        images = images.flatten(2)[..., 3:].reshape(1, 3, 1, 7)
    row = EDIT_OPERATORS[op].row()[None, None].double().to(backend.device)
    weights = torch.rand_like(images)
    found, _ = gradients(images, Edits(torch.tensor([[op]], device=backend.device), row), weights)
    if op is EditOp.LIGHTNESS:  # not continuous at white
        found, weights = found.flatten(2)[..., [0, 1, *range(3, 10)]], weights.flatten(2)[..., [0, 1, *range(3, 10)]]
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=1e-9)


def test_gradients_at_kinks_of_the_parameters(backend: Backend) -> None:
    """None flows where brightness and saturation are at their end."""
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64, device=backend.device)
    for op in (EditOp.BRIGHTNESS, EditOp.SATURATION, EditOp.LIGHTNESS):
        for value in (-1.0, -1.5):
            params = torch.full((1, 1, 24), value, dtype=torch.float64, device=backend.device)
            _, found = gradients(images, Edits(torch.tensor([[op]], device=backend.device), params))
            assert not found.any()


def test_outside_of_a_mask_the_gradient_passes(backend: Backend) -> None:
    images = torch.randn(1, 3, 6, 7, device=backend.device)  # beyond [0, 1] too
    masks = torch.rand(1, 6, 7, device=backend.device) < 0.5
    edits = sequences([CHAIN]).to(backend.device)
    edits = Edits(edits.ops, edits.params, masks, torch.zeros_like(edits.ops))
    weights = torch.rand_like(images)
    found, _ = gradients(images, edits, weights)
    assert_same(found[..., ~masks[0]], weights[..., ~masks[0]])
    everywhere = Edits(edits.ops, edits.params, torch.zeros_like(masks), torch.zeros_like(edits.ops))
    found, of_params = gradients(images, everywhere, weights)
    assert_same(found, weights)
    assert not of_params.any()


def test_sums_over_big_images(backend: Backend) -> None:
    """Many chunks and blocks: the gradients of the parts add up to that of the whole."""
    images, edits = torch.rand(1, 3, 40, 500, device=backend.device), sequences([CHAIN], 0.5).to(backend.device)
    weights = torch.rand_like(images)
    whole_images, whole = gradients(images, edits, weights)
    parts = [gradients(images[:, :, rows], edits, weights[:, :, rows]) for rows in (slice(0, 13), slice(13, 40))]
    assert_same(whole_images, torch.cat([part[0] for part in parts], 2))
    torch.testing.assert_close(whole, parts[0][1] + parts[1][1], rtol=1e-4, atol=1e-2)
    double = gradients(images.double(), Edits(edits.ops, edits.params.double()), weights.double())[1]
    torch.testing.assert_close(whole.double(), double, rtol=1e-4, atol=2e-3 * float(double.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(backend: Backend, dtype: torch.dtype) -> None:
    images, edits = (
        torch.rand(2, 3, 9, 14, device=backend.device).to(dtype),
        sequences([CHAIN] * 2, 0.5).to(backend.device),
    )
    weights = torch.rand_like(images)
    found = gradients(images, edits, weights)
    wanted = gradients(images.float(), edits, weights.float())
    assert found[0].dtype == dtype
    assert_same(found[0], wanted[0].to(dtype))
    assert_same(found[1], wanted[1])


def test_refused_gradients(backend: Backend) -> None:
    images, edits = (
        torch.rand(1, 3, 4, 4, device=backend.device),
        masked(sequences([CHAIN]), 4, 4, soft=True).to(backend.device),
    )
    edits.masks = edits.masks.requires_grad_()
    with pytest.raises(RuntimeError, match="not differentiable in masks"):
        edits.on(images).sum().backward()
    plain = Edits(edits.ops, edits.params)
    gradient, *_ = torch.autograd.grad(plain.on(images.requires_grad_()).sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="apply_edits_backward is not differentiable"):
        gradient.sum().backward()


def test_gradients_compile(backend: Backend) -> None:
    images, edits = torch.rand(1, 3, 4, 4, device=backend.device), sequences([CHAIN]).to(backend.device)
    function = torch.compile(ldie_ext.apply_edits, fullgraph=True, backend="aot_eager")
    params = edits.params.requires_grad_()
    compiled, *_ = torch.autograd.grad(function(images, edits.ops, params).sum(), params)
    eager, *_ = torch.autograd.grad(ldie_ext.apply_edits(images, edits.ops, params).sum(), params)
    assert_same(compiled, eager)


def test_parameters_of_another_dtype_keep_it(backend: Backend) -> None:
    images, edits = torch.rand(1, 3, 4, 4, device=backend.device), sequences([CHAIN]).to(backend.device)
    params = edits.params.double().requires_grad_()
    ldie_ext.apply_edits(images, edits.ops, params).sum().backward()
    assert params.grad.dtype == torch.float64
