"""The normal equations of fits against Jacobians by autograd, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import CPU, Backend
from editing.edit_inputs import CHAIN, OPERATORS, STENCILS, Edits, masked, sequences
from op_checks import assert_same, assert_threads_agree
from torch import Tensor

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_normal_equations import RUN_PIXELS, Candidates, NormalEquations
from ldie_ext.ops.editing.fit_columns import Columns

INFINITE = float("inf")


def candidates_of(edits: Edits, images: Tensor, targets: Tensor, threshold: float = INFINITE) -> Candidates:
    """One sequence for each image of the batch becomes one candidate of it."""
    index, exclusive = (None if x is None else x[:, None] for x in (edits.mask_index, edits.exclusive))
    masks = edits.masks.to(images.dtype) if edits.masks is not None and edits.masks.is_floating_point() else edits.masks
    return Candidates(images, targets, edits.ops[:, None], masks, index, exclusive, threshold)


def found(backend: Backend, candidates: Candidates, params: Tensor, stride: int = 1, columns: int = -1,
          active: Tensor | None = None) -> NormalEquations:  # fmt: skip
    parts = {name: value.to(backend.device) if isinstance(value, Tensor) else value
             for name, value in vars(candidates).items()}  # fmt: skip
    if active is None:
        active = torch.ones(candidates.ops.shape[:2], dtype=torch.bool)
    columns = 24 * candidates.ops.shape[2] if columns < 0 else columns
    equations = Candidates(**parts).equations(params.to(backend.device), active.to(backend.device), stride, columns)
    return NormalEquations(*(each.cpu() for each in equations))


def visited(pixels: int, stride: int) -> Tensor:
    return torch.arange(pixels) // RUN_PIXELS % stride == 0


def expected(edits: Edits, images: Tensor, targets: Tensor, threshold: float = INFINITE, stride: int = 1
             ) -> NormalEquations:  # fmt: skip
    """By autograd, from apply_edits in float64 on the CPU."""
    batch, steps = edits.ops.shape
    results = []
    for b in range(batch):
        own = Edits(*(None if x is None else x[b, None] for x in (edits.ops, edits.params)), edits.masks,
                    *(None if x is None else x[b, None] for x in (edits.mask_index, edits.exclusive)))  # fmt: skip
        masks = own.masks.double() if own.masks is not None and own.masks.is_floating_point() else own.masks

        def edited(params: Tensor, own: Edits = own, b: int = b, masks: Tensor | None = masks) -> Tensor:
            image = images[b, None].double()
            return torch.ops.ldie_ext.apply_edits(image, own.ops, params, masks, own.mask_index, own.exclusive, 0)

        params = own.params.double()
        seen = visited(images[b, 0].numel(), stride).repeat(3)
        jacobian = torch.autograd.functional.jacobian(edited, params).flatten(0, 3).flatten(1)[seen]
        residual = (edited(params) - targets[b, None].double()).flatten()[seen]
        size = residual.abs()
        weight = torch.where(size > threshold, threshold / size, 1.0)
        loss = torch.where(size > threshold, threshold * (size - threshold / 2), residual**2 / 2)
        place = Columns.of(own.ops).place[0]
        width = 24 * steps
        own_columns = jacobian[:, place[place < width]]
        full = torch.zeros(len(own_columns), width, dtype=torch.float64)
        full[:, : own_columns.shape[1]] = own_columns
        weighed = weight[:, None] * full
        results.append((loss.sum(), size.sum(), weighed.T @ residual, weighed.T @ full))
    losses, distances, gradients, hessians = (torch.stack(each)[:, None] for each in zip(*results, strict=True))
    return NormalEquations(losses, distances, gradients, hessians)


def assert_near(actual: NormalEquations, wanted: NormalEquations, tolerance: float) -> None:
    for one, other in zip(actual, wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * max(1.0, float(other.abs().max())))


@pytest.mark.sanitize
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_each_operator_matches_autograd(backend: Backend, op: EditOp) -> None:
    images, targets = torch.rand(2, 2, 3, 5, 7, dtype=torch.float64).unbind()
    edits = sequences([[op], [op]], 0.6)
    edits.params = edits.params.double()
    actual = found(backend, candidates_of(edits, images, targets), edits.params[:, None])
    assert_near(actual, expected(edits, images, targets), 1e-10)


def assert_match_autograd(
    backend: Backend, edits: Edits, images: Tensor, targets: Tensor, threshold: float, in_float32: float
) -> None:
    edits.params = edits.params.to(images.dtype)
    actual = found(backend, candidates_of(edits, images, targets, threshold), edits.params[:, None])
    bound = 1e-10 if images.dtype == torch.float64 else in_float32
    assert_near(actual, expected(edits, images, targets, threshold), bound)


ORDERS = [
    CHAIN, CHAIN[::-1], [CHAIN[k] for k in (3, 0, 4, 1, 2)], [CHAIN[k] for k in (4, 3, 2, 3, 4)],
    [EditOp.NONE, EditOp.WHITE_BALANCE, EditOp.COLOR_BG, EditOp.HUE, EditOp.TONE_CURVE],
]  # fmt: skip


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("threshold", [INFINITE, 0.1], ids=["squares", "huber"])
def test_chains_match_autograd(backend: Backend, dtype: torch.dtype, threshold: float) -> None:
    """Curves last and curves between, several at once, more pixels than one run."""
    images, targets = torch.rand(2, len(ORDERS), 3, 6, 25).to(dtype).unbind()
    assert_match_autograd(backend, sequences(ORDERS, 0.5), images, targets, threshold, 2e-5)


SHARP, BLUR, EDGE = STENCILS
WITH_STENCILS = [
    [SHARP, *CHAIN[:3]], [*CHAIN[:3], SHARP], [EditOp.SATURATION, BLUR, EditOp.TONE_CURVE, SHARP],
    [EditOp.COLOR_CURVE, SHARP, EditOp.COLOR_CURVE, BLUR], [EDGE, EditOp.COLOR_CURVE, EDGE, EditOp.CONTRAST],
    [EditOp.COLOR_CURVE, BLUR, EDGE, EditOp.TONE_CURVE],
]  # fmt: skip


@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("threshold", [INFINITE, 0.1], ids=["squares", "huber"])
def test_stencils_match_autograd(backend: Backend, dtype: torch.dtype, threshold: float) -> None:
    """Before, between and after pointwise steps, several in a row; columns are images that go through them too."""
    images, targets = torch.rand(2, len(WITH_STENCILS), 3, 11, 13).to(dtype).unbind()
    assert_match_autograd(backend, sequences(WITH_STENCILS, 0.4), images, targets, threshold, 5e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (30, 2), (2, 131)])
@pytest.mark.parametrize("stride", [1, 2])
def test_stencils_in_tiles(backend: Backend, height: int, width: int, stride: int) -> None:
    """More than one tile, and less than a halo; with a stride, the pixels of the same runs as without stencils."""
    images, targets = torch.rand(2, 1, 3, height, width, dtype=torch.float64).unbind()
    edits = sequences([[EditOp.EXPOSURE, SHARP, EditOp.SATURATION, EDGE]], 0.3)
    edits.params = edits.params.double()
    actual = found(backend, candidates_of(edits, images, targets), edits.params[:, None], stride)
    assert_near(actual, expected(edits, images, targets, stride=stride), 1e-10)


@pytest.mark.sanitize
@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
def test_masked_stencils_match_autograd(backend: Backend, soft: bool) -> None:
    images, targets = torch.rand(2, 3, 3, 9, 17, dtype=torch.float64).unbind()
    edits = masked(sequences([[SHARP, EditOp.COLOR_CURVE, BLUR], [EditOp.CONTRAST, EDGE, EditOp.HUE],
                              [BLUR, BLUR, EditOp.TONE_CURVE]], 0.4), 9, 17, soft=soft)  # fmt: skip
    edits.params = edits.params.double()
    actual = found(backend, candidates_of(edits, images, targets), edits.params[:, None])
    assert_near(actual, expected(edits, images, targets), 1e-6 if soft else 1e-10)


@pytest.mark.sanitize
@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
def test_masks_match_autograd(backend: Backend, soft: bool) -> None:
    images, targets = torch.rand(2, 3, 3, 6, 11, dtype=torch.float64).unbind()
    edits = masked(sequences([[CHAIN[k] for k in order] for order in ((0, 3, 1), (3, 4, 2), (2, 4, 3))], 0.5), 6, 11,
                   soft=soft)  # fmt: skip
    edits.params = edits.params.double()
    actual = found(backend, candidates_of(edits, images, targets), edits.params[:, None])
    assert_near(actual, expected(edits, images, targets), 1e-6 if soft else 1e-10)  # soft masks are float32 ones


@pytest.mark.parametrize("stride", [2, 3, 50])
def test_stride_visits_whole_runs(backend: Backend, stride: int) -> None:
    images, targets = torch.rand(2, 1, 3, 20, 33, dtype=torch.float64).unbind()
    edits = sequences([[EditOp.SATURATION, EditOp.TONE_CURVE]], 0.5)
    edits.params = edits.params.double()
    actual = found(backend, candidates_of(edits, images, targets), edits.params[:, None], stride)
    assert_near(actual, expected(edits, images, targets, stride=stride), 1e-10)


def test_many_candidates_share_an_image(backend: Backend) -> None:
    """Also those that are not active, which get zeros, and no columns at all."""
    images, targets = torch.rand(2, 2, 3, 9, 40).unbind()
    each = [sequences([CHAIN[:3]] * 2, 0.5) for _ in range(3)]
    ops, params = (torch.stack([getattr(one, name) for one in each], 1) for name in ("ops", "params"))
    active = torch.tensor([[True, False, True], [True, True, False]])
    candidates = Candidates(images, targets, ops, None, None, None, INFINITE)
    actual = found(backend, candidates, params, active=active)
    for p in range(3):
        alone = found(backend, candidates_of(each[p], images, targets), each[p].params[:, None])
        for one, other in zip(actual, alone, strict=True):
            mask = active[:, p].view(-1, *[1] * (one.dim() - 2))
            assert_same(one[:, p], torch.where(mask, other[:, 0], 0.0))
    bare = found(backend, candidates, params, columns=0)
    assert bare.hessians.shape == (2, 3, 0, 0)
    assert_same(torch.where(active, bare.losses, 0.0), actual.losses)
    assert_same(torch.where(active, bare.distances, 0.0), actual.distances)


def test_threads_and_runs_agree() -> None:
    images, targets = torch.rand(2, 1, 3, 300, 301).unbind()
    edits = sequences([CHAIN], 0.5)
    candidates = candidates_of(edits, images, targets)
    assert_threads_agree(lambda: tuple(found(CPU, candidates, edits.params[:, None])))


@pytest.mark.parametrize("size", [(0, 2, 3, 8, 8), (2, 0, 3, 8, 8), (1, 2, 0, 8, 8), (1, 2, 3, 0, 8)], ids=str)
def test_nothing_to_do(backend: Backend, size: tuple[int, ...]) -> None:
    batch, count, steps, height, width = size
    images = torch.rand(batch, 3, height, width)
    ops = torch.ones(batch, count, steps, dtype=torch.int64)
    actual = found(backend, Candidates(images, images, ops, None, None, None, INFINITE),
                   torch.zeros(batch, count, steps, 24))  # fmt: skip
    assert actual.hessians.shape == (batch, count, 24 * steps, 24 * steps)
    assert not any(each.any() for each in actual)


def test_bad_input(backend: Backend) -> None:
    images = torch.rand(1, 3, 4, 4)
    ops, params = torch.full((1, 1, 2), 4), torch.ones(1, 1, 2, 24)

    def call(ops: Tensor = ops, params: Tensor = params, images: Tensor = images, **others: int) -> None:
        found(backend, Candidates(images, torch.rand(1, 3, 4, 4), ops, None, None, None, INFINITE), params, **others)

    with pytest.raises(RuntimeError, match="targets must have the shape of images"):
        call(images=torch.rand(1, 3, 4, 5))
    with pytest.raises(RuntimeError, match="images must be float32 or float64"):
        call(images=images.half(), params=params)
    with pytest.raises(RuntimeError, match="at most 8 steps, got 9"):
        call(ops=torch.ones(1, 1, 9, dtype=torch.int64), params=torch.ones(1, 1, 9, 24))
    with pytest.raises(RuntimeError, match="stride must be at least 1, got 0"):
        call(stride=0)
    with pytest.raises(RuntimeError, match=r"columns must be in 0 \.\. 192, got 193"):
        call(columns=193)
    if backend.device.type == "cpu":
        sharp = Candidates(images, images, torch.full((1, 1, 1), 6), None, None, None, INFINITE, stencils=False)
        with pytest.raises(RuntimeError, match="stencils must be true where ops have SHARPNESS, BLUR or EDGE"):
            found(backend, sharp, torch.zeros(1, 1, 1, 24))
        with pytest.raises(RuntimeError, match="columns must be at least 48, which ops have, got 47"):
            call(columns=47)


def test_refuses_gradients(backend: Backend) -> None:
    images, edits = torch.rand(1, 3, 4, 4), sequences([[EditOp.CONTRAST]])
    params = edits.params[:, None].requires_grad_()
    equations = found(backend, candidates_of(edits, images, images), params)
    with pytest.raises(RuntimeError, match="edit_normal_equations is not differentiable"):
        equations.losses.sum().backward()


def test_opcheck_and_compile(backend: Backend) -> None:
    images, edits = torch.rand(1, 3, 4, 6, device=backend.device), sequences([CHAIN[:2]]).to(backend.device)
    active = torch.ones(1, 1, dtype=torch.bool, device=backend.device)
    inputs = (
        images,
        images,
        edits.ops[:, None],
        edits.params[:, None],
        None,
        None,
        None,
        active,
        False,
        1,
        2,
        INFINITE,
    )
    torch.library.opcheck(backend.op("edit_normal_equations"), inputs)


@pytest.mark.parametrize("value", [float("nan"), INFINITE, -INFINITE])
@pytest.mark.parametrize("column", [8, 16, 120, 129])
def test_a_pixel_that_is_no_number_counts_once(backend: Backend, value: float, column: int) -> None:
    images, ops = torch.rand(1, 3, 8, 130), torch.full((1, 1, 1), int(EditOp.SHARPNESS))
    images[0, 0, 3, column] = value
    params = torch.full((1, 1, 1, 24), 0.1)
    candidates = Candidates(images, torch.full_like(images, 0.5), ops, None, None, None, INFINITE)
    edited = torch.ops.ldie_ext.apply_edits(images, ops[0], params[0], None, None, None, 0).double()
    loss = ((edited - 0.5) ** 2).sum() / 2
    torch.testing.assert_close(found(backend, candidates, params).losses.double().sum(), loss, rtol=1e-5, atol=0.0)
