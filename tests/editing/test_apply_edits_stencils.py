"""Stencils of apply_edits: tiles with a halo give what the whole image gives, forward and backward."""

from __future__ import annotations

import pytest
import torch
from backends import CPU, EMULATED, Backend, load_emulated
from editing.edit_inputs import CHAIN, OPERATORS, STENCILS, Edits, expected, masked, random_row, sequences
from op_checks import assert_same, assert_threads_agree, peak_bytes
from torch import Tensor
from torch.nn import functional

import ldie_ext
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

SHARPNESS, BLUR, EDGE, EXPOSURE = EditOp.SHARPNESS, EditOp.BLUR, EditOp.EDGE, EditOp.EXPOSURE
# Beside the tiles' sides: of the CPU 64 x 128 forward and 32 x 128 backward, of CUDA 46 and 30 and less with more halo.
SIZES = [(1, 1), (1, 131), (67, 1), (2, 2), (29, 31), (30, 127), (46, 46), (47, 129), (63, 128), (65, 45), (130, 140)]
MIXED = [
    [BLUR, EXPOSURE, SHARPNESS],
    [EXPOSURE, EditOp.NONE, EXPOSURE],
    [EDGE, BLUR, EDGE],
    [SHARPNESS, EXPOSURE, EDGE],
]

sizes = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


def difference(images: Tensor, edits: Edits, backend: Backend) -> float:
    actual = edits.to(backend.device).on(images.to(backend.device)).cpu()
    assert not actual.isnan().any()
    return float((actual.double() - expected(images, edits)).abs().max())


@sizes
@pytest.mark.parametrize("op", STENCILS, ids=lambda op: op.name)
def test_tiles_are_the_whole_image(backend: Backend, op: EditOp, size: tuple[int, int]) -> None:
    images, edits = torch.rand(2, 3, *size), sequences([[op]] * 2)
    assert difference(images, edits, backend) < 1e-6
    assert difference(images, masked(edits, *size, soft=True), backend) < 1e-6


@pytest.mark.sanitize
@sizes
def test_chains_on_tiles(backend: Backend, size: tuple[int, int]) -> None:
    """Samples with none, one and several stencils side by side; pointwise steps before them lift no black border."""
    images = torch.rand(4, 3, *size)
    edits = sequences(MIXED)
    assert difference(images, edits, backend) < 2e-6
    assert difference(images, masked(edits, *size, soft=True), backend) < 2e-6
    assert difference(images.double(), masked(edits, *size, soft=False), backend) < 1e-12


def test_five_steps(backend: Backend) -> None:
    images = torch.rand(3, 3, 70, 140)
    edits = sequences([[*CHAIN[:2], SHARPNESS, *CHAIN[3:]], [BLUR, *CHAIN[:3], EDGE], [SHARPNESS] * 2 + [BLUR] * 3])
    assert difference(images, edits, backend) < 2e-6


def test_as_many_as_there_may_be(backend: Backend) -> None:
    """Eight; a ninth is an error where the host can read it, and on CUDA does nothing, forward and backward."""
    steps = [SHARPNESS, BLUR, EXPOSURE, EDGE, BLUR, BLUR, SHARPNESS, BLUR, EXPOSURE, EDGE]
    images = torch.rand(1, 3, 100, 150, dtype=torch.float64)
    edits = sequences([steps])
    assert difference(images, edits, backend) < 1e-12
    edits, images = edits.to(backend.device), images.to(backend.device)
    more = Edits(*(torch.cat([each, each[:, :3]], 1) for each in (edits.ops, edits.params.double())))
    if backend.device.type != "cuda":
        with pytest.raises(RuntimeError, match=r"ops must have at most 8 .* in a sample, but ops\[0, 10\]"):
            more.on(images)
        return
    more.params.requires_grad_()
    out = more.on(images)
    capped = Edits(torch.cat([edits.ops, more.ops[:, 2:3]], 1), torch.cat([edits.params, edits.params[:, 2:3]], 1))
    assert_same(out.detach(), capped.on(images))
    out.sum().backward()
    assert not more.params.grad[0, 10:12].any()


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_bytes(backend: Backend, layout: str) -> None:
    images = torch.randint(256, (4, 3, 66, 131), dtype=torch.uint8)
    edits = masked(sequences(MIXED), 66, 131, soft=True)
    given = images.permute(0, 2, 3, 1).contiguous() if layout == "hwc" else images
    actual = edits.to(backend.device).on(given.to(backend.device), layout=layout).cpu()
    planar = actual.permute(0, 3, 1, 2) if layout == "hwc" else actual
    wanted = expected(images.double() / 255, edits) * 255
    assert float((planar.double() - wanted).abs().max()) < 0.5 + 1e-3


def test_borders_by_hand(backend: Backend) -> None:
    """A white image: sharpened it stays white, blurred its border darkens, and it has no edge."""
    images = torch.ones(3, 3, 5, 6, device=backend.device)
    rows = [EDIT_OPERATORS[op].row(1.0) for op in (SHARPNESS, BLUR, EDGE)]
    edits = Edits(torch.tensor([[SHARPNESS], [BLUR], [EDGE]]), torch.stack(rows)[:, None]).to(backend.device)
    sharp, blurred, edge = edits.on(images).cpu()
    side, middle = 0.8824969 / 2.7649938, 1 / 2.7649938
    assert_same(sharp, torch.ones(3, 5, 6))
    assert_same(edge, torch.zeros(3, 5, 6))
    torch.testing.assert_close(blurred[:, 2, 2], torch.ones(3))
    torch.testing.assert_close(blurred[:, 0, 2], torch.full((3,), middle + side))
    torch.testing.assert_close(blurred[:, 0, 0], torch.full((3,), (middle + side) ** 2))
    step = (torch.arange(6) > 2).float().mul(0.5).expand(1, 3, 5, 6).to(backend.device)
    heights = Edits(edits.ops[2:], edits.params[2:]).on(step).cpu()
    torch.testing.assert_close(heights[0, 0, 2], torch.tensor([0, 0, 0.5, 0.5, 0, 0]))


# ---- gradients


def composed(x: Tensor, edits: Edits, params: Tensor) -> Tensor:
    """MIXED in PyTorch, without tiles."""

    def filtered(x: Tensor, kernel: Tensor, mode: str) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode)
        return functional.conv2d(padded, kernel.double().expand(3, 1, 3, 3), groups=3)

    def edited(x: Tensor, op: int, p: Tensor) -> Tensor:
        if op == EXPOSURE:
            return 2**p * x
        if op == SHARPNESS:
            return x + p * filtered(x, torch.tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]), "constant")
        if op == BLUR:
            column = torch.exp(-(torch.tensor([-1.0, 0, 1], dtype=torch.float64) ** 2) / 8)
            column = column / column.sum()
            return x + p * (filtered(x, column[:, None] * column, "constant") - x)
        sobel = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
        square = filtered(x, sobel, "replicate") ** 2 + filtered(x, sobel.t(), "replicate") ** 2
        flat = square == 0
        return x + p * (torch.where(flat, 0, torch.where(flat, 1, square).sqrt()) - x)

    results = []
    for b in range(len(x)):
        image = x[b : b + 1]
        for k, op in enumerate(edits.ops[b].tolist()):
            if op == EditOp.NONE:
                continue
            result = edited(image, op, params[b, k, 0])
            if edits.masks is not None and edits.mask_index is not None and edits.mask_index[b, k] >= 0:
                mask = edits.masks[edits.mask_index[b, k]].double()
                if edits.exclusive is not None and edits.exclusive[b, k]:
                    mask = 1 - mask
                result = mask * result + (1 - mask) * image
            image = result.clamp(0, 1)
        results.append(image)
    return torch.cat(results)


def gradients_differ(images: Tensor, edits: Edits, backend: Backend) -> None:
    images, weights = images.double(), torch.rand(images.shape, dtype=torch.float64)
    leaves = images.clone().requires_grad_(), edits.params.double().requires_grad_()
    wanted = torch.autograd.grad(composed(leaves[0], edits, leaves[1]), leaves, weights)
    here = edits.to(backend.device)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        images_here = images.to(backend.device, dtype).requires_grad_()
        params_here = here.params.to(dtype).requires_grad_()
        masks = here.masks if here.masks is None or not here.masks.is_floating_point() else here.masks.to(dtype)
        out = ldie_ext.apply_edits(images_here, here.ops, params_here, masks, here.mask_index, here.exclusive)
        found = torch.autograd.grad(out, (images_here, params_here), weights.to(backend.device, dtype))
        scale = max(1.0, float(wanted[1].abs().max()))
        torch.testing.assert_close(found[0].cpu().double(), wanted[0], rtol=0, atol=10 * tolerance)
        torch.testing.assert_close(found[1].cpu().double(), wanted[1], rtol=0, atol=10 * tolerance * scale)


@sizes
def test_gradients_on_tiles(backend: Backend, size: tuple[int, int]) -> None:
    """Images whose slopes are nowhere near 0 and values nowhere near the clamp, so that float32 decides alike."""
    images = 0.3 + 0.4 * torch.rand(4, 3, *size)
    edits = sequences(MIXED)
    edits.params[..., 0] = 0.2 + 0.1 * torch.rand(edits.ops.shape)
    gradients_differ(images, edits, backend)
    gradients_differ(images, masked(edits, *size, soft=True), backend)
    gradients_differ(images, masked(edits, *size, soft=False), backend)


def test_gradient_where_it_is_flat(backend: Backend) -> None:
    """No edge has the gradient 0, no NaN; at the clamp's ends a gradient passes."""
    for level in (0.0, 0.4, 1.0):
        images = torch.full((1, 3, 6, 7), level, dtype=torch.float64, device=backend.device, requires_grad=True)
        params = EDIT_OPERATORS[EDGE].row(0.5)[None, None].double().to(backend.device).requires_grad_()
        out = ldie_ext.apply_edits(images, torch.tensor([[EDGE]], device=backend.device), params)
        torch.testing.assert_close(out, 0.5 * images)
        out.sum().backward()
        torch.testing.assert_close(images.grad, torch.full_like(images, 0.5))
        torch.testing.assert_close(params.grad[0, 0, 0], -images.sum().detach())


@pytest.mark.sanitize
def test_gradcheck_of_several(backend: Backend) -> None:
    images = torch.rand(1, 3, 3, 4, dtype=torch.float64, device=backend.device).requires_grad_()
    ops = torch.tensor(
        [[SHARPNESS, EditOp.SATURATION, BLUR, EditOp.TONE_CURVE, EditOp.NONE, EDGE]], device=backend.device
    )
    params = torch.stack([random_row(EditOp(op), 0.3) for op in ops[0].tolist()])[None].double()
    assert torch.autograd.gradcheck(
        lambda images, params: ldie_ext.apply_edits(images, ops, params),
        (images, params.to(backend.device).requires_grad_()),
        eps=1e-7,
        atol=1e-5,
    )


# ---- like every operator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_emulated_equals_cpu(dtype: torch.dtype) -> None:
    load_emulated()
    images = torch.rand(2, 3, 50, 67) if dtype != torch.uint8 else torch.randint(256, (2, 3, 50, 67))
    edits = masked(sequences([[*STENCILS, *OPERATORS[:8]], [*OPERATORS[4:]][:11]]), 50, 67, soft=True)
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    arguments = images.to(dtype), edits.ops, edits.params.to(computed), edits.masks.to(computed)
    rest = edits.mask_index, edits.exclusive
    assert_same(*(each.op("apply_edits")(*arguments, *rest, 0) for each in (CPU, EMULATED)))
    if dtype == torch.uint8:
        return
    grad = torch.rand_like(arguments[0])
    images_gradients, params_gradients = zip(
        *(each.op("apply_edits_backward")(grad, *arguments, *rest) for each in (CPU, EMULATED)), strict=True
    )
    assert_same(*images_gradients)
    torch.testing.assert_close(*params_gradients, rtol=1e-4, atol=1e-3 * float(params_gradients[0].abs().max()))


def test_half_precision(backend: Backend) -> None:
    images, edits = torch.rand(4, 3, 20, 33).to(backend.device), sequences(MIXED).to(backend.device)
    for dtype in (torch.float16, torch.bfloat16):
        half = images.to(dtype).requires_grad_()
        out = edits.on(half)
        assert_same(out.detach(), edits.on(half.detach().float()).to(dtype))
        weights = torch.rand_like(out)
        single = half.detach().float().requires_grad_()
        wanted, *_ = torch.autograd.grad(edits.on(single), single, weights.float())
        found, *_ = torch.autograd.grad(out, half, weights)
        assert_same(found, wanted.to(dtype))


def test_dispatcher_contract(backend: Backend) -> None:
    images = torch.rand(4, 3, 7, 9, device=backend.device).requires_grad_()
    arguments = [*vars(masked(sequences(MIXED), 7, 9, soft=True).to(backend.device)).values()]
    torch.library.opcheck(backend.op("apply_edits"), (images, *arguments, 0))
    torch.library.opcheck(backend.op("apply_edits_backward"), (torch.ones_like(images), images.detach(), *arguments))


def test_threads_agree() -> None:
    images, edits = torch.rand(4, 3, 150, 300), masked(sequences(MIXED), 150, 300, soft=True)
    assert_threads_agree(lambda: edits.on(images))
    grad = torch.rand_like(images)
    backward = CPU.op("apply_edits_backward")
    assert_threads_agree(lambda: backward(grad, images, *vars(edits).values()))


def test_nothing_of_an_image_is_stored() -> None:
    """Beside the result and the tiles' memory, whatever the image's size."""
    images, edits = torch.rand(1, 3, 1500, 2000), sequences([[SHARPNESS, EXPOSURE, BLUR]])
    assert peak_bytes(lambda: edits.on(images)) < images.nbytes + 8 * 2**20


@pytest.mark.parametrize("op", STENCILS, ids=lambda op: op.name)
def test_nan_stays_in_its_sample(op: EditOp) -> None:
    images = torch.rand(64, 3, 32, 131)
    images[::2] = float("nan")
    params = torch.full((64, 1, 24), 0.1, requires_grad=True)
    ldie_ext.apply_edits(images, torch.full((64, 1), int(op)), params).sum().backward()
    alone = params.detach()[1:2].clone().requires_grad_()
    ldie_ext.apply_edits(images[1:2], torch.full((1, 1), int(op)), alone).sum().backward()
    assert params.grad[1::2].isfinite().all()
    assert_same(params.grad[1], alone.grad[0])


@pytest.mark.parametrize("size", [(5, 0), (0, 5), (0, 0)])
def test_no_pixels(backend: Backend, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, device=backend.device, requires_grad=True)
    edits = sequences([CHAIN + STENCILS] * 2).to(backend.device)
    params = edits.params.requires_grad_()
    ldie_ext.apply_edits(images, edits.ops, params).sum().backward()
    assert images.grad.shape == images.shape
    assert not params.grad.any()
