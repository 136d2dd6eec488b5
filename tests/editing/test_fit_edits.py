"""fit_edits finds the parameters that made a target, within limits, whatever the target lacks."""

from __future__ import annotations

import pytest
import torch
from backends import CPU, Backend
from editing.edit_inputs import CHAIN, Edits
from op_checks import assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext
from ldie_ext import EditFit, EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS
from ldie_ext.ops.editing.fit_columns import LIMITS, MOST_STARTS

#: Where an operator leaves enough of an image to be seen again.
SEEN = {EditOp.BRIGHTNESS: 0.3, EditOp.CONTRAST: 0.5, EditOp.SATURATION: -0.5, EditOp.EXPOSURE: -0.8,
        EditOp.BLACK_WHITE: 0.6, EditOp.HUE: 0.1, EditOp.LIGHTNESS: -0.3, EditOp.COLORIZE: 0.2,
        EditOp.SHARPNESS: 0.4, EditOp.BLUR: 0.7, EditOp.EDGE: 0.3}  # fmt: skip


def picture(height: int = 40, width: int = 48, count: int = 1) -> Tensor:
    """Smooth colours and some noise, not too bright."""
    coarse = torch.nn.functional.interpolate(torch.rand(count, 3, 5, 6), (height, width), mode="bicubic")
    return (coarse.clamp(0, 1) * 0.85 + 0.05 + 0.05 * torch.rand(count, 3, height, width)).clamp(0, 1) * 0.8


def row(op: EditOp) -> Tensor:
    if op in SEEN:
        return EDIT_OPERATORS[op].row(SEEN[op])
    if op is EditOp.WHITE_BALANCE:
        return EDIT_OPERATORS[op].row(torch.tensor([0.8, 1.1, 0.9]))
    if op in (EditOp.COLOR_CURVE, EditOp.TONE_CURVE):
        weights = (torch.rand(EDIT_OPERATORS[op].parameters // 8, 8) - 0.5).exp()
        return EDIT_OPERATORS[op].row((8 * weights / weights.sum(1, keepdim=True)).flatten())
    return torch.zeros(24)


def truth(orders: list[list[EditOp]]) -> Edits:
    params = torch.stack([torch.stack([row(op) for op in order]) for order in orders])
    return Edits(torch.tensor(orders), params)


def fitted(backend: Backend, images: Tensor, targets: Tensor, ops: Tensor, **options: object) -> EditFit:
    given = {name: value.to(backend.device) if isinstance(value, Tensor) else value for name, value in options.items()}
    fit = ldie_ext.fit_edits(*(each.to(backend.device) for each in (images, targets, ops)), **given)  # type: ignore[arg-type]
    return EditFit(*(each.cpu() for each in vars(fit).values()))


def distance(images: Tensor, targets: Tensor, ops: Tensor, params: Tensor) -> Tensor:
    """[B, P], by apply_edits."""
    each = [ldie_ext.apply_edits(images, ops[:, p], params[:, p]) for p in range(ops.shape[1])]
    return torch.stack([(one - targets).abs().flatten(1).mean(1) for one in each], 1)


def squares(images: Tensor, targets: Tensor, ops: Tensor, params: Tensor) -> Tensor:
    each = [ldie_ext.apply_edits(images, ops[:, p], params[:, p]) for p in range(ops.shape[1])]
    return torch.stack([((one - targets) ** 2).flatten(1).sum(1) for one in each], 1)


@pytest.mark.parametrize(
    "op", [op for op in LIMITS if op in SEEN or op is EditOp.WHITE_BALANCE], ids=lambda op: op.name
)
def test_one_operator(backend: Backend, op: EditOp) -> None:
    images, edits = picture(16, 24), truth([[op]])
    fit = fitted(backend, images, edits.on(images), edits.ops[:, None], starts=3)
    torch.testing.assert_close(fit.params[:, 0], edits.params, rtol=0, atol=1e-4)
    assert float(fit.distance) < 1e-6


@pytest.mark.parametrize("op", [EditOp.COLOR_CURVE, EditOp.TONE_CURVE], ids=lambda op: op.name)
def test_curves_come_in_one_gauge(backend: Backend, op: EditOp) -> None:
    """All levels are there, so that all weights can be seen."""
    images = torch.rand(1, 3, 20, 40)
    edits = truth([[op]])
    scaled = Edits(edits.ops, 3 * edits.params)
    fit = fitted(backend, images, scaled.on(images), edits.ops[:, None])
    torch.testing.assert_close(fit.params[:, 0], edits.params, rtol=0, atol=1e-3)
    sums = fit.params[0, 0, 0].view(3, 8).sum(1)
    torch.testing.assert_close(
        sums[: EDIT_OPERATORS[op].parameters // 8],
        torch.tensor(8.0).expand(len(sums))[: EDIT_OPERATORS[op].parameters // 8],
    )


ORDERS = [
    [EditOp.BRIGHTNESS, EditOp.CONTRAST],
    [EditOp.SATURATION, EditOp.CONTRAST],
    [EditOp.TONE_CURVE, EditOp.SATURATION],
]


@pytest.mark.parametrize("bytes_", [False, True], ids=["exact", "8 bit"])
def test_two_operators(bytes_: bool) -> None:
    """Of 8-bit targets what remains is their rounding, a quarter of a level in the mean."""
    images, edits = picture(96, 96, len(ORDERS)), truth(ORDERS)
    targets = edits.on(images)
    if bytes_:
        targets = (targets * 255 + 0.5).byte()
    fit = fitted(CPU, images, targets, edits.ops[:, None], starts=3)
    scalar = fit.params[:, 0, :, 0] - edits.params[:, :, 0]
    scalar[2, 0] = 0  # a weight
    assert float(scalar.abs().max()) < (0.01 if bytes_ else 1e-3)
    assert float(fit.distance.max()) < (1.05 / 255 / 4 if bytes_ else 2e-6)


def test_five_operators_as_well_as_their_truth() -> None:
    """Both curves in one: the parameters are not unique, the picture is."""
    images, edits = picture(128, 128, 2), truth([CHAIN, CHAIN])
    targets = (edits.on(images) * 255).round() / 255
    fit = fitted(CPU, images, targets, edits.ops[:, None], starts=3)
    made = distance(images, targets, edits.ops[:, None], edits.params[:, None])
    assert (fit.distance <= made * 1.02).all()
    assert (fit.evaluations < 7 * 60).all()


def test_distance_is_that_of_the_parameters(backend: Backend) -> None:
    images, targets = torch.rand(2, 2, 3, 12, 20).unbind()
    ops = torch.tensor([[[1, 2, 4], [5, 3, 0]], [[7, 0, 9], [0, 0, 0]]])
    fit = fitted(backend, images, targets, ops, starts=2)
    assert fit.params.shape == (2, 2, 3, 24)
    assert fit.params.dtype == fit.distance.dtype == torch.float32
    assert fit.evaluations.dtype == torch.int64
    torch.testing.assert_close(fit.distance, distance(images, targets, ops, fit.params), rtol=1e-5, atol=1e-7)
    rows = [EDIT_OPERATORS[EditOp(op)].row() if op else torch.zeros(24) for op in ops.flatten().tolist()]
    start = torch.stack(rows).view(2, 2, 3, 24)
    least, first = (squares(images, targets, ops, params) for params in (fit.params, start))
    assert (least <= first).all()
    assert (least < first)[ops.any(2)].all()


def test_limits_hold(backend: Backend) -> None:
    """A target that no parameter reaches: all white, or all black."""
    images = picture(10, 16)
    ops = torch.tensor([[[op, EditOp.NONE] for op in LIMITS]])
    for targets in (torch.ones_like(images), torch.zeros_like(images), 1 - images):
        fit = fitted(backend, images, targets, ops, starts=2)
        for p, (low, high) in enumerate(LIMITS.values()):
            count = EDIT_OPERATORS[EditOp(int(ops[0, p, 0]))].parameters
            values = fit.params[0, p, 0, :count]
            assert ((values >= torch.tensor(low)) & (values <= torch.tensor(high))).all()
        assert fit.distance.isfinite().all()
    assert not fit.params[0, :, 1].any()


def test_huber_passes_over_what_is_not_an_edit() -> None:
    images, edits = picture(64, 64), truth([[EditOp.BRIGHTNESS, EditOp.SATURATION]])
    targets = edits.on(images)
    targets[..., 20:35, 20:35] = torch.rand(3, 15, 15)
    plain, robust = (fitted(CPU, images, targets, edits.ops[:, None], huber=huber) for huber in (None, 0.01))
    wrong, right = (float((fit.params[0, 0, :, 0] - edits.params[0, :, 0]).abs().max()) for fit in (plain, robust))
    assert right < 0.01 < wrong


def test_masks(backend: Backend) -> None:
    images, edits = picture(16, 30), truth([[EditOp.EXPOSURE, EditOp.SATURATION]])
    masks = torch.stack([torch.rand(16, 30), (torch.rand(16, 30) < 0.5).float()])
    index, exclusive = torch.tensor([[[0, 1]]]), torch.tensor([[[True, False]]])
    local = Edits(edits.ops, edits.params, masks, index[:, 0], exclusive[:, 0])
    fit = fitted(backend, images, local.on(images), edits.ops[:, None], masks=masks, mask_index=index,
                 exclusive=exclusive)  # fmt: skip
    torch.testing.assert_close(fit.params[:, 0], edits.params, rtol=0, atol=1e-4)
    hard = fitted(backend, images, local.on(images), edits.ops[:, None], masks=masks > 0.5, mask_index=index)
    assert float(hard.distance) > 1e-3


def test_starts_and_init(backend: Backend) -> None:
    """At red the hue that all get has a corner, where the descent ends; the list has other places, and so does init."""
    images = picture(16, 24)
    far = Edits(torch.tensor([[EditOp.COLORIZE]]), EDIT_OPERATORS[EditOp.COLORIZE].row(0.5)[None, None])
    targets, ops = far.on(images), far.ops[:, None]
    alone, several = (fitted(backend, images, targets, ops, starts=count) for count in (1, MOST_STARTS))
    assert float(several.distance) < 1e-5 <= float(alone.distance)
    assert int(several.evaluations) > int(alone.evaluations)
    near = fitted(backend, images, targets, ops, init=far.params[:, None] - 0.05)
    torch.testing.assert_close(near.params[:, 0, 0, 0], far.params[:, 0, 0], rtol=0, atol=1e-3)
    assert int(near.evaluations) < int(several.evaluations)


def test_evaluations_are_bounded(backend: Backend) -> None:
    images, targets = torch.rand(2, 1, 3, 12, 20).unbind()
    ops = torch.tensor([[CHAIN[:3]]])
    assert int(fitted(backend, images, targets, ops, max_evaluations=2, starts=3).evaluations) <= 6
    assert int(fitted(CPU, images, targets, ops, max_evaluations=9, method="nelder_mead").evaluations) <= 10


def test_as_good_as_the_simplex(backend: Backend) -> None:
    """In far fewer evaluations. The simplex goes on mean |r| itself, the other on squares: an exact target is one."""
    images, edits = picture(12, 16), truth([[EditOp.BRIGHTNESS, EditOp.SATURATION]])
    targets, ops = edits.on(images), edits.ops[:, None]
    simplex = fitted(backend, images, targets, ops, method="nelder_mead")
    fit = fitted(backend, images, targets, ops)
    torch.testing.assert_close(simplex.params[:, 0], edits.params, rtol=0, atol=5e-3)
    assert float(fit.distance) <= float(simplex.distance)
    assert int(fit.evaluations) * 3 < int(simplex.evaluations)


def test_dtypes(backend: Backend) -> None:
    images, edits = picture(8, 16), truth([[EditOp.EXPOSURE]])
    targets, ops = edits.on(images), edits.ops[:, None]
    double = fitted(backend, images.double(), targets, ops)
    assert double.params.dtype == torch.float64
    for given in ((images.half(), targets.bfloat16()), ((images * 255 + 0.5).byte(), (targets * 255 + 0.5).byte())):
        fit = fitted(backend, *given, ops)
        assert fit.params.dtype == torch.float32
        torch.testing.assert_close(fit.params.double(), double.params, rtol=0, atol=0.02)


def test_strided_arguments(backend: Backend) -> None:
    images, targets = torch.rand(2, 2, 3, 9, 14).unbind()
    ops = torch.tensor([[[1, 2]], [[3, 5]]])
    laid = [images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), targets.mT.contiguous().mT]
    plain, strided = fitted(backend, images, targets, ops), fitted(backend, *laid, ops.expand(2, 3, 2))
    assert_same(strided.params, plain.params.expand(2, 3, 2, 24))


def test_runs_and_threads_agree() -> None:
    images, targets = torch.rand(2, 2, 3, 80, 90).unbind()
    ops = torch.tensor([[CHAIN, CHAIN[::-1]]] * 2)
    assert_threads_agree(lambda: tuple(vars(ldie_ext.fit_edits(images, targets, ops, starts=2)).values()))


def test_an_image_without_information(backend: Backend) -> None:
    """Grey throughout: nothing tells the parameters apart, and what can be reached is reached."""
    images = torch.full((1, 3, 12, 12), 0.25)
    ops = torch.tensor([[[EditOp.SATURATION, EditOp.HUE], [EditOp.BRIGHTNESS, EditOp.TONE_CURVE], [4, 5]]])
    fit = fitted(backend, images, torch.full_like(images, 0.4), ops)
    assert fit.params.isfinite().all()
    torch.testing.assert_close(fit.distance, torch.tensor([[0.15, 0.0, 0.0]]), rtol=0, atol=1e-5)


def test_nan_is_not_fitted(backend: Backend) -> None:
    images = picture(8, 16, 2)
    targets = images * 0.5
    targets[0, 0, 0, 0] = float("nan")
    fit = fitted(backend, images, targets, torch.tensor([[[EditOp.EXPOSURE]]] * 2))
    assert fit.distance[0].isnan() and float(fit.params[0].abs().max()) == 0
    torch.testing.assert_close(fit.params[1, 0, 0, 0], torch.tensor(-1.0))


@pytest.mark.parametrize("size", [(0, 2, 2, 8, 8), (1, 0, 2, 8, 8), (1, 2, 0, 8, 8), (1, 2, 2, 0, 8)], ids=str)
@pytest.mark.parametrize("method", ["levenberg_marquardt", "nelder_mead"])
def test_nothing_to_do(backend: Backend, size: tuple[int, ...], method: str) -> None:
    batch, count, steps, height, width = size
    if method == "nelder_mead" and height == 0:
        pytest.skip("a mean over no pixels")
    images, targets = torch.rand(2, batch, 3, height, width).unbind()
    fit = fitted(backend, images, targets, torch.ones(batch, count, steps, dtype=torch.int64), method=method)
    assert fit.params.shape == (batch, count, steps, 24)
    assert fit.distance.shape == fit.evaluations.shape == (batch, count)
    if steps == 0:
        torch.testing.assert_close(fit.distance, (images - targets).abs().mean().expand(1, 2))
    if height == 0:
        assert not fit.distance.any()


def test_gives_constants() -> None:
    images = picture(8, 16).requires_grad_()
    fit = ldie_ext.fit_edits(images, images.detach() * 0.5, torch.tensor([[[EditOp.EXPOSURE]]]))
    assert not fit.params.requires_grad and not fit.distance.requires_grad


BAD: list[tuple[dict[str, object], type[Exception], str]] = [
    ({"method": "newton"}, ValueError, "method must be one of .*got 'newton'"),
    ({"starts": 0}, ValueError, "starts must be 1 to 7, got 0"),
    ({"max_evaluations": 0}, ValueError, "max_evaluations must be at least 1, got 0"),
    ({"huber": 0.0}, ValueError, r"huber must be above 0, got 0\.0"),
    ({"huber": 0.1, "method": "nelder_mead"}, ValueError, "huber belongs to least squares"),
    ({"init": torch.zeros(1, 1, 24)}, RuntimeError, r"init must have shape \[B, P, K, 24\] as ops, got \[1, 1, 24\]"),
    ({"images": torch.rand(3, 4, 4)}, RuntimeError, r"images must have shape \[B, 3, H, W\], got \[3, 4, 4\]"),
    ({"images": torch.ones(1, 3, 4, 4, dtype=torch.int32)}, RuntimeError, "images must be floating or uint8"),
    ({"targets": torch.rand(1, 3, 4, 5)}, RuntimeError, "targets must have the shape of images"),
    ({"ops": torch.ones(1, 1).long()}, RuntimeError, r"ops must be int64 \[1, P, K\], as images, got \[1, 1\]"),
    ({"ops": torch.ones(2, 1, 1).long()}, RuntimeError, r"ops must be int64 \[1, P, K\], as images, got \[2, 1, 1\]"),
    ({"ops": torch.ones(1, 1, 9, dtype=torch.int64)}, RuntimeError, "ops must have at most 8 steps, got 9"),
    ({"ops": torch.full((1, 1, 1), 99)}, RuntimeError, r"ops must be numbers of EditOp, .* ops\[0, 0, 0\] is 99"),
    ({"masks": torch.ones(1, 4, 4)}, RuntimeError, "mask_index must be given with masks"),
    ({"masks": torch.ones(1, 4, 5), "mask_index": torch.zeros(1, 1, 1, dtype=torch.int64)}, RuntimeError,
     r"masks must have shape \[M, H, W\]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input(backend: Backend, change: dict[str, object], error: type[Exception], message: str) -> None:
    arguments = {"images": torch.rand(1, 3, 4, 4), "targets": torch.rand(1, 3, 4, 4), "ops": torch.ones(1, 1, 1).long()}
    with pytest.raises(error, match=message):
        ldie_ext.fit_edits(**(arguments | change))  # type: ignore[arg-type]
