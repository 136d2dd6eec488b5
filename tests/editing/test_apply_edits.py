"""apply_edits against the NumPy reference, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import CPU, EMULATED, Backend, load_emulated
from editing.edit_inputs import (
    CHAIN,
    FLOATS,
    OPERATORS,
    POINTWISE,
    Edits,
    cube,
    expected,
    masked,
    random_row,
    sequences,
)
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13, torch.float16: 5e-4, torch.bfloat16: 4e-3}


def edited(backend: Backend, images: Tensor, edits: Edits, **options: str) -> Tensor:
    return edits.to(backend.device).on(images.to(backend.device), **options).cpu()


def largest_difference(actual: Tensor, wanted: Tensor) -> float:
    assert not actual.isnan().any()
    return float((actual.double() - wanted).abs().max()) if actual.numel() else 0.0


def extremes(op: EditOp) -> list[Tensor]:
    """Rows at the limits, in the middle, and of the parameters by turns."""
    operator = EDIT_OPERATORS[op]
    low, high = torch.full((2, operator.parameters), operator.low).unbind()
    high = torch.full_like(low, operator.high)
    turns = torch.arange(operator.parameters) % 2 == 0
    values = [low, high, (low + high) / 2, torch.where(turns, low, high), torch.where(turns, high, low)]
    return [operator.row(value) for value in values]


@pytest.mark.sanitize
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_each_operator_matches_reference(backend: Backend, op: EditOp) -> None:
    images = torch.cat(
        [torch.rand(9, 3, 5, 7), (torch.rand(2, 3, 5, 7) < 0.5).float(), torch.rand(1, 1, 5, 7).expand(1, 3, 5, 7)]
    )
    for dtype in (torch.float32, torch.float64):
        edits = sequences([[op]] * len(images))
        actual = edited(backend, images.to(dtype), edits)
        assert actual.dtype == dtype
        assert largest_difference(actual, expected(images.to(dtype), edits)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_limits_on_the_whole_cube(backend: Backend, op: EditOp, dtype: torch.dtype) -> None:
    """Neither values nor gradients are NaN anywhere, and values are right to half a unit of 16-bit ones."""
    images = cube(9 if backend is CPU else 5).to(dtype)
    for row in extremes(op):
        edits = Edits(torch.tensor([[op]]), row[None, None])
        assert largest_difference(edited(backend, images, edits), expected(images, edits)) < TOLERANCE[dtype]
        here = edits.to(backend.device)
        leaves = images.clone().to(backend.device).requires_grad_(), here.params.clone().requires_grad_()
        Edits(here.ops, leaves[1]).on(leaves[0]).double().sum().backward()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.sanitize
def test_chain_of_five(backend: Backend) -> None:
    images = torch.rand(4, 3, 9, 33)
    edits = sequences([CHAIN, CHAIN[::-1], [CHAIN[k] for k in (2, 0, 4, 1, 3)], CHAIN])
    assert largest_difference(edited(backend, images, edits), expected(images, edits)) < 2e-6
    doubled = edited(backend, images.double(), edits)
    assert largest_difference(doubled, expected(images.double(), edits)) < 1e-12


def test_none_is_the_identity_and_pads(backend: Backend) -> None:
    images = torch.randn(2, 3, 4, 6)  # also beyond [0, 1]
    images[0, 0, 0, 0], images[0, 1, 0, 0], images[0, 2, 0, 0] = float("nan"), -0.0, float("inf")
    none = sequences([[EditOp.NONE] * 3] * 2)
    assert_same(edited(backend, images, none).view(torch.int32), images.view(torch.int32))
    images = images.nan_to_num().clamp(0, 1)
    edits = sequences([[EditOp.HUE, EditOp.TONE_CURVE], [EditOp.EXPOSURE, EditOp.NONE]])
    padded = Edits(
        *(torch.zeros_like(each[:, :1]).repeat(1, 4, *[1] * (each.dim() - 2)) for each in (edits.ops, edits.params))
    )
    padded.ops[:, [0, 3]], padded.params[:, [0, 3]] = edits.ops, edits.params
    assert_same(edited(backend, images, padded), edited(backend, images, edits))


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
def test_masks(backend: Backend, soft: bool, dtype: torch.dtype) -> None:
    images = torch.rand(3, 3, 6, 11).to(dtype)
    edits = masked(
        sequences([[EditOp.HUE, EditOp.NONE, EditOp.EXPOSURE], [EditOp.COLOR_BG, *CHAIN[:2]], CHAIN[2:]]),
        6,
        11,
        soft=soft,
    )
    assert largest_difference(edited(backend, images, edits), expected(images, edits)) < 2 * TOLERANCE[dtype]
    edits.exclusive = None
    assert largest_difference(edited(backend, images, edits), expected(images, edits)) < 2 * TOLERANCE[dtype]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_outside_of_a_mask_nothing_changes(backend: Backend, op: EditOp) -> None:
    """Not even what lies beyond [0, 1]; inclusive and exclusive."""
    images = torch.randn(1, 3, 8, 9)
    images[0, :, 0, 0] = torch.tensor([float("nan"), -0.0, float("-inf")])
    half = torch.rand(8, 9) < 0.5
    half[0, 0] = False
    for masks, exclusive in ((half, False), (~half, True), (half.float(), False)):
        edits = Edits(
            torch.tensor([[op]]),
            random_row(op)[None, None],
            masks[None],
            torch.tensor([[0]]),
            torch.tensor([[exclusive]]),
        )
        actual = edited(backend, images, edits)
        assert_same(actual[..., ~half].view(torch.int32), images[..., ~half].view(torch.int32))
        inside = actual[..., half]
        assert ((inside >= 0) & (inside <= 1)).all()


def test_blended_before_clamped(backend: Backend) -> None:
    """An exposure of 4 gives 3.2; half of that and half of 0.8 is 2, which is 1."""
    images = torch.tensor([0.8, 0.2, 0.1]).view(1, 3, 1, 1)
    row = EDIT_OPERATORS[EditOp.EXPOSURE].row(2.0)[None, None]
    edits = Edits(torch.tensor([[EditOp.EXPOSURE]]), row, torch.full((1, 1, 1), 0.5), torch.tensor([[0]]))
    torch.testing.assert_close(edited(backend, images, edits).flatten(), torch.tensor([1.0, 0.5, 0.25]))


@pytest.mark.sanitize
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_bytes(backend: Backend, layout: str) -> None:
    """Rounded once, at the end; the reference within half a level, and a little."""
    images = torch.randint(256, (3, 3, 7, 23), dtype=torch.uint8)
    edits = masked(sequences([CHAIN, [EditOp.NONE] * 5, CHAIN[::-1]]), 7, 23, soft=True)
    given = images.permute(0, 2, 3, 1).contiguous() if layout == "hwc" else images
    actual = edited(backend, given, edits, layout=layout)
    assert actual.dtype == torch.uint8
    assert actual.shape == given.shape
    planar = actual.permute(0, 3, 1, 2) if layout == "hwc" else actual
    assert_same(planar[1], images[1])
    wanted = expected(images.double() / 255, Edits(*(vars(edits).values()))) * 255
    assert float((planar.double() - wanted).abs().max()) < 0.5 + 1e-3


def test_every_byte_survives_the_identity(backend: Backend) -> None:
    images = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256).contiguous()
    start = [EDIT_OPERATORS[op].row() for op in CHAIN]
    assert_same(edited(backend, images, Edits(torch.tensor([CHAIN]), torch.stack(start)[None])), images)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8])
def test_emulated_equals_cpu(dtype: torch.dtype) -> None:
    """Bit for bit: nothing is contracted."""
    load_emulated()
    images = torch.rand(4, 3, 5, 67) if dtype != torch.uint8 else torch.randint(256, (4, 3, 5, 67))
    edits = masked(sequences([POINTWISE, POINTWISE[::-1], CHAIN * 2 + [EditOp.HUE] * 2, POINTWISE]), 5, 67, soft=True)
    arguments = images.to(dtype), edits.ops, edits.params.to(torch.float64 if dtype == torch.float64 else torch.float32)
    masks = edits.masks.to(arguments[2].dtype), edits.mask_index, edits.exclusive
    results = [each.op("apply_edits")(*arguments, *masks, 0) for each in (CPU, EMULATED)]
    assert_same(results[0], results[1])


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (1, 3, 1, 1)])
@pytest.mark.parametrize("steps", [0, 2])
def test_empty(backend: Backend, shape: tuple[int, ...], steps: int) -> None:
    images = torch.rand(shape, device=backend.device).requires_grad_()
    ops = torch.full((shape[0], steps), int(EditOp.CONTRAST), device=backend.device)
    params = torch.full((shape[0], steps, 24), 0.5, device=backend.device).requires_grad_()
    out = ldie_ext.apply_edits(images, ops, params)
    assert out.shape == shape
    out.sum().backward()
    assert images.grad.shape == shape
    assert params.grad.shape == params.shape
    if steps == 0:
        assert_same(out.detach(), images.detach())
        assert_same(images.grad, torch.ones_like(images))
    elif out.numel() == 0:
        assert not params.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_non_contiguous_and_misaligned(backend: Backend, dtype: torch.dtype) -> None:
    images = (
        (torch.rand(2, 3, 6, 8) * 255).to(torch.uint8) if dtype == torch.uint8 else torch.rand(2, 3, 6, 8).to(dtype)
    )
    edits = masked(sequences([CHAIN, CHAIN[::-1]]), 6, 8, soft=False)
    whole = edited(backend, images, edits)
    assert_same(edited(backend, images.contiguous(memory_format=torch.channels_last), edits), whole)
    shifted = torch.cat([images.flatten()[:1], images.flatten()])[1:].view(images.shape)
    assert_same(edited(backend, shifted, edits), whole)
    spread = Edits(
        *(each if each is None else each.repeat_interleave(2, -1)[..., ::2] for each in vars(edits).values())
    )
    assert_same(edited(backend, images, spread), whole)


def test_inputs_are_not_written(backend: Backend) -> None:
    images, edits = torch.rand(2, 3, 5, 5, device=backend.device), sequences([CHAIN] * 2).to(backend.device)
    before = images.clone(), edits.params.clone(), edits.ops.clone()
    edits.on(images)
    assert_same((images, edits.params, edits.ops), before)


def test_errors_name_the_argument(backend: Backend) -> None:
    images, edits = torch.rand(2, 3, 5, 6, device=backend.device), sequences([CHAIN[:2]] * 2).to(backend.device)
    masks = torch.ones(1, 5, 6, dtype=torch.bool, device=backend.device)
    index = torch.zeros_like(edits.ops)

    def refused(message: str, **changed: object) -> None:
        with pytest.raises((RuntimeError, ValueError), match=message):
            ldie_ext.apply_edits(**{"images": images, **vars(edits), **changed})  # type: ignore[arg-type]

    refused(r"images must have shape \[B, 3, H, W\], got \[2, 3, 30\] float32", images=images.flatten(2))
    refused(r"images must be uint8 where channels come last", images=images.permute(0, 2, 3, 1), layout="hwc")
    refused(r"images must have shape \[B, H, W, 3\]", images=images.byte(), layout="hwc")
    refused(r"images must be float32, float64, float16, bfloat16 or uint8", images=images.int())
    refused(r"ops must be int64, got \[2, 2\] int32", ops=edits.ops.int())
    refused(r"ops must have shape \[B, K\]", ops=edits.ops[:1])
    refused(r"ops must have at most 32 steps, got 33", ops=torch.zeros(2, 33, dtype=torch.int64, device=backend.device))
    refused(r"params must have shape \[B, K, 24\], as ops", params=edits.params[..., :23])
    refused(r"masks must have shape \[M, H, W\], as images", masks=masks[:, 1:], mask_index=index)
    refused(r"masks must be bool or float32, got .* int64", masks=masks.long(), mask_index=index)
    refused(r"mask_index must be given with masks", masks=masks)
    refused(r"masks must be given with mask_index", mask_index=index)
    refused(r"masks must be given with exclusive", exclusive=index > 0)
    refused(r"mask_index must be int64", masks=masks, mask_index=index.int())
    refused(r"exclusive must be bool", masks=masks, mask_index=index, exclusive=index)
    refused(r"layout must be one of \['chw', 'hwc'\], got 'cwh'", layout="cwh")
    with pytest.raises(RuntimeError, match="grad must have the shape of images"):
        backend.op("apply_edits_backward")(images[:1], images, edits.ops, edits.params, None, None, None)


def test_values_that_are_wrong(backend: Backend) -> None:
    """Errors where the host can read them; on CUDA such a step does nothing, and a curve's sum is clamped."""
    images, params = torch.rand(1, 3, 4, 5, device=backend.device), torch.ones(1, 2, 24, device=backend.device)
    masks = torch.ones(2, 4, 5, dtype=torch.bool, device=backend.device)

    def call(op: int, params: Tensor = params, mask: int = 0) -> Tensor:
        ops = torch.tensor([[0, op]], device=backend.device)
        index = torch.tensor([[-1, mask]], device=backend.device)
        return ldie_ext.apply_edits(images, ops, params, masks, index)

    flat = torch.zeros_like(params)
    flat[0, 1, :16] = 1
    wrong = {
        r"ops must be numbers of EditOp, 0 to 15, but ops\[0, 1\] is 16": lambda: call(16),
        r"ops must be numbers of EditOp, 0 to 15, but ops\[0, 1\] is -1": lambda: call(-1),
        r"mask_index must be the number of a mask, 0 to 1, or -1, but mask_index\[0, 1\] is 2": lambda: call(1, mask=2),
        r"mask_index must be .* is -2": lambda: call(1, mask=-2),
        r"params of a curve must sum to more than 1e-06, but those of params\[0, 1\] from 16 on sum to 0": lambda: call(
            4, flat
        ),
        r"params of a curve must .* sum to nan": lambda: call(5, params * float("nan")),
    }
    for message, function in wrong.items():
        if backend.device.type == "cuda":
            assert function().isfinite().all()
        else:
            with pytest.raises(RuntimeError, match=message):
                function()


def test_dispatcher_contract(backend: Backend) -> None:
    images, edits = torch.rand(2, 3, 4, 5), masked(sequences([CHAIN[:3], CHAIN[2:]]), 4, 5, soft=True)
    arguments = [*vars(edits.to(backend.device)).values()]
    arguments[1].requires_grad_()
    images = images.to(backend.device).requires_grad_()
    torch.library.opcheck(backend.op("apply_edits"), (images, *arguments, 0))
    plain = [each if each is None else each.detach() for each in arguments]
    torch.library.opcheck(backend.op("apply_edits_backward"), (torch.ones_like(images), images.detach(), *plain))


def test_compiles(backend: Backend) -> None:
    images, edits = torch.rand(2, 3, 4, 5, device=backend.device), sequences([CHAIN[:3], CHAIN[2:]]).to(backend.device)
    assert_compiles(lambda images, params: ldie_ext.apply_edits(images, edits.ops, params), images, edits.params)


def test_threads_agree() -> None:
    images, edits = torch.rand(3, 3, 100, 200), masked(sequences([CHAIN] * 3), 100, 200, soft=True)
    assert_threads_agree(lambda: edits.on(images))
    grad = torch.rand_like(images)
    backward = CPU.op("apply_edits_backward")
    assert_threads_agree(lambda: backward(grad, images, *vars(edits).values()))
