"""EditExecutor's steps against the NumPy references."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import reference.executor as reference
import torch
from editing.executor_inputs import invented, object_masks
from op_checks import assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext
from ldie_ext import EditExecutor, EditOp, ExecutorOperator
from ldie_ext.ops.editing.edit_op import NUM_PARAMETERS
from ldie_ext.ops.editing.executor_operators import EXECUTOR_OPERATORS, SEED_LABELS

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11, torch.float16: 1e-3, torch.bfloat16: 8e-3}
WHOLE_IMAGE = list(reference.STEPS)
each_step = pytest.mark.parametrize("step", EXECUTOR_OPERATORS)


EXECUTOR = EditExecutor(invented)


def random_params(step: str, count: int) -> Tensor:
    """Within the limits, [count, n]; boxes have an extent."""
    limits = EXECUTOR_OPERATORS[step].limits
    if step == "CROP":
        low = torch.rand(count, 2, dtype=torch.float64) * 0.5
        return torch.cat([low, low + 0.1 + torch.rand(count, 2, dtype=torch.float64) * 0.4], 1)
    columns = [each.low + (each.high - each.low) * torch.rand(count, dtype=torch.float64) for each in limits]
    columns = [torch.round(each) if limits[k].whole else each for k, each in enumerate(columns)]
    return torch.stack(columns, 1) if columns else torch.zeros(count, 0)


def expected(step: str, images: Tensor, params: Tensor, mask: Tensor | None) -> Tensor:
    results = []
    masks = [None] * len(images) if mask is None else mask.double().numpy()
    for image, row, weight in zip(images.double().numpy(), params.double().numpy(), masks, strict=True):
        if step in reference.STEPS:
            results.append(reference.blended(image, reference.STEPS[step](image, row), weight))
        else:
            background = invented(torch.from_numpy(image)[None], torch.ones(1))[0].numpy()
            background = weight * background + (1 - weight) * image
            results.append(np.clip(reference.OBJECT_STEPS[step](image, weight, background, row), 0, 1))
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("step", WHOLE_IMAGE)
def test_whole_image(step: str, dtype: torch.dtype) -> None:
    images, params = torch.rand(3, 3, 21, 17, dtype=torch.float64).to(dtype), random_params(step, 3)
    actual = EXECUTOR.apply(images, step, params)
    assert actual.dtype == dtype
    wide = params.to(torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(actual.double(), expected(step, images, wide, None), rtol=0, atol=TOLERANCE[dtype])


@each_step
@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
@pytest.mark.parametrize("exclusive", [False, True])
def test_masks(step: str, soft: bool, exclusive: bool) -> None:
    images, params = torch.rand(2, 3, 12, 18, dtype=torch.float64), random_params(step, 2)
    masks = object_masks(2, 12, 18, soft=soft)
    masks = masks.double() if soft else masks
    given = 1 - masks.double() if exclusive else masks
    actual = EXECUTOR.apply(images, step, params, given, exclusive=exclusive)
    torch.testing.assert_close(actual, expected(step, images, params, masks), rtol=0, atol=1e-11)
    one = EXECUTOR.apply(images, step, params, given[0], exclusive=exclusive)
    assert_same(one[0], actual[0])


@pytest.mark.parametrize("step", [*WHOLE_IMAGE, "INPAINT_OBJ"])
def test_outside_of_a_mask_nothing_changes(step: str) -> None:
    """Not even what lies beyond [0, 1]."""
    images = torch.randn(2, 3, 9, 11)
    images[0, :, 0, 0] = torch.tensor([float("inf"), -0.0, 7.0])
    mask = torch.rand(9, 11) < 0.5
    mask[0, 0] = False
    params = random_params(step, 2)
    for given, exclusive in ((mask, False), (~mask, True), (mask.float(), False)):
        actual = EXECUTOR.apply(images, step, params, given, exclusive=exclusive)
        assert_same(actual[..., ~mask].view(torch.int32), images[..., ~mask].view(torch.int32))
        inside = actual[..., mask]
        assert ((inside >= 0) & (inside <= 1)).all()
    assert_same(EXECUTOR.apply(images, step, params, torch.zeros(9, 11)), images)


@pytest.mark.parametrize("step", ["ROTATE_OBJ", "FLIP_OBJ"])
def test_an_object_moves_and_the_rest_stays(step: str) -> None:
    images, mask = torch.randn(1, 3, 20, 20), torch.zeros(20, 20, dtype=torch.bool)
    mask[5:9, 4:12] = True
    actual = EXECUTOR.apply(images, step, math.pi / 2 if step == "ROTATE_OBJ" else 0, mask)
    moved = torch.zeros_like(mask)
    if step == "ROTATE_OBJ":  # lying becomes standing; what is left becomes what is below
        moved[3:11, 6:10] = True
        wanted = images[..., 5:9, 4:12].rot90(1, (2, 3)).clamp(0, 1)
        torch.testing.assert_close(actual[..., 3:11, 6:10], wanted, rtol=0, atol=1e-4)
    else:
        moved = mask
        assert_same(actual[..., 5:9, 4:12], images[..., 5:9, 4:12].flip(-1).clamp(0, 1))
    far = ~(mask | torch.nn.functional.max_pool2d(moved[None].float(), 3, 1, 1)[0].bool())
    assert_same(actual[..., far], images[..., far])
    left = mask & ~moved
    torch.testing.assert_close(actual[..., left], invented(images, mask)[..., left], rtol=0, atol=1e-4)


def test_blended_before_clamped() -> None:
    """Half of 3 and half of 0.8 is above 1."""
    images = torch.tensor([0.8, 0.2, 0.1]).view(1, 3, 1, 1)
    executor = EditExecutor(lambda images, holes: torch.full_like(images, 3.0))
    actual = executor.apply(images, "INPAINT_OBJ", mask=torch.full((1, 1), 0.5))
    torch.testing.assert_close(actual.flatten(), torch.tensor([1.0, 1.0, 1.0]))
    darker = EditExecutor(lambda images, holes: torch.full_like(images, -0.5))
    actual = darker.apply(images, "INPAINT_OBJ", mask=torch.full((1, 1), 0.5))
    torch.testing.assert_close(actual.flatten(), torch.tensor([0.15, 0.0, 0.0]))


@each_step
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_bytes(step: str, layout: str) -> None:
    """As floats, rounded once; outside of the mask untouched."""
    planar = torch.randint(256, (2, 3, 10, 13), dtype=torch.uint8)
    params, mask = random_params(step, 2), object_masks(2, 10, 13, soft=True)
    images = planar.permute(0, 2, 3, 1).contiguous() if layout == "hwc" else planar
    actual = EXECUTOR.apply(images, step, params, mask, layout=layout)  # type: ignore[arg-type]
    assert actual.dtype == torch.uint8
    assert actual.shape == images.shape
    assert actual.is_contiguous()
    wanted = EXECUTOR.apply(planar.float() / 255, step, params, mask)
    back = actual.permute(0, 3, 1, 2) if layout == "hwc" else actual
    assert_same(back, (wanted * 255 + 0.5).floor().to(torch.uint8))


@pytest.mark.parametrize("step", ["FLIP", "CROP", "ROTATE", "RADIAL_BLUR", "DENOISE", "DEHAZE"])
def test_start(step: str) -> None:
    """Changes nothing, or at most what rounding does; a flip has no such value."""
    images = torch.rand(2, 3, 30, 40)
    actual = EXECUTOR.apply(images, step)
    torch.testing.assert_close(actual, images.flip(-1) if step == "FLIP" else images, rtol=0, atol=1e-5)
    every = torch.arange(256, dtype=torch.uint8).expand(1, 3, 16, 256)
    assert_same(EXECUTOR.apply(every, step), every.flip(-1) if step == "FLIP" else every)


@each_step
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_and_single_pixels(step: str, level: float) -> None:
    """Whatever only averages leaves them as they are; nothing is NaN."""
    for size in ((1, 1), (1, 5), (6, 1), (16, 16)):
        images = torch.full((2, 3, *size), level)
        executor = EditExecutor(lambda images, holes: images)
        for extreme in (0, 1):
            values = [each[2 + extreme] for each in EXECUTOR_OPERATORS[step].limits]
            values = [0.0, 0.0, 1.0, 1.0] if step == "CROP" else values
            actual = executor.apply(images, step, values, torch.ones(size))
            assert actual.isfinite().all()
            if step not in ("ROTATE", "ROTATE_OBJ"):  # whose corners are black
                torch.testing.assert_close(actual, images, rtol=0, atol=1e-6)


@each_step
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
def test_empty(step: str, shape: tuple[int, ...]) -> None:
    images = torch.zeros(shape)
    assert_same(EXECUTOR.apply(images, step, random_params(step, shape[0]), torch.ones(shape[2:])), images)


@each_step
def test_large_images_in_strips(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, params, mask = torch.rand(1, 3, 40, 33), random_params(step, 1), object_masks(1, 40, 33, soft=False)
    whole = EXECUTOR.apply(images, step, params, mask)
    monkeypatch.setattr("ldie_ext.ops.editing.image_filters.STRIP", 100)
    torch.testing.assert_close(EXECUTOR.apply(images, step, params, mask), whole, rtol=0, atol=1e-6)


def test_not_a_number() -> None:
    """Where a step acts there is none in the result."""
    images = torch.rand(1, 3, 8, 8)
    images[0, 0, 4, 4] = float("nan")
    for step in EXECUTOR_OPERATORS:
        actual = EXECUTOR.apply(images, step, random_params(step, 1), torch.ones(8, 8))
        assert actual.isfinite().all(), step


def test_non_contiguous_and_unwritten() -> None:
    images = torch.rand(2, 3, 10, 12)
    before = images.clone()
    for step in EXECUTOR_OPERATORS:
        params, mask = random_params(step, 2), object_masks(2, 10, 12, soft=True)
        whole = EXECUTOR.apply(images, step, params, mask)
        other = EXECUTOR.apply(images.contiguous(memory_format=torch.channels_last), step, params, mask)
        torch.testing.assert_close(other, whole, rtol=0, atol=1e-6)
        assert whole.is_contiguous()
        assert_same(images, before)


def test_rows_of_24() -> None:
    images = torch.rand(2, 3, 6, 7)
    for operator in EXECUTOR_OPERATORS.values():
        if operator.needs_mask:
            continue
        params = random_params(operator.name, 2).float()
        rows = operator.row(params)
        assert rows.shape == (2, NUM_PARAMETERS)
        assert_same(EXECUTOR.apply(images, operator.name, rows), EXECUTOR.apply(images, operator.name, params))


@each_step
def test_gradients_of_images(step: str) -> None:
    """What is inpainted is a constant."""
    images = (torch.rand(1, 3, 5, 6, dtype=torch.float64) * 0.6 + 0.2).requires_grad_()
    params, mask = random_params(step, 1), torch.rand(5, 6, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(lambda x: EXECUTOR.apply(x, step, params, mask), (images,))


@each_step
def test_gradients_of_params(step: str) -> None:
    operator = EXECUTOR_OPERATORS[step]
    images = torch.rand(1, 3, 6, 7, dtype=torch.float64) * 0.6 + 0.2
    params = random_params(step, 1)
    if operator.differentiable:
        params = (params * 0.5 + 0.05).requires_grad_()
        assert torch.autograd.gradcheck(lambda p: EXECUTOR.apply(images, step, p), (params,))
    else:
        assert operator.geometric or step in ("INPAINT_OBJ", "FACET_BLUR")


def test_threads_agree() -> None:
    images = torch.rand(2, 3, 70, 90)
    for step in EXECUTOR_OPERATORS:
        params, mask = random_params(step, 2), object_masks(2, 70, 90, soft=True)
        assert_threads_agree(lambda step=step, params=params, mask=mask: EXECUTOR.apply(images, step, params, mask))


# ---- bad input


def test_bad_input_is_named() -> None:
    images, mask = torch.rand(2, 3, 5, 6), torch.ones(5, 6, dtype=torch.bool)

    def refused(message: str, *, images: object = images, step: object = "FLIP", **rest: object) -> None:
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            EXECUTOR.apply(images, step, **rest)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)

    refused(r"step must be one of ROTATE, .*, got 'ROTAT'; did you mean ROTATE\?", step="ROTAT")
    refused(r"step must be one of .*, got <?1", step=1)
    refused(r"images must have shape \[B, 3, H, W\], got \[3, 5, 6\] float32", images=images[0])
    refused(r"images must have shape \[B, 3, H, W\], got \[2, 1, 5, 6\]", images=images[:, :1])
    refused(r"images must have shape \[B, H, W, 3\], got \[2, 3, 5, 6\] uint8", images=images.byte(), layout="hwc")
    refused(r"images must be uint8 where channels come last", images=images.permute(0, 2, 3, 1), layout="hwc")
    refused(r"images must be float or uint8, got \[2, 3, 5, 6\] int64", images=images.long())
    refused(r"images must be float or uint8, got None", images=None)
    refused(r"layout must be one of \['chw', 'hwc'\], got 'cwh'", layout="cwh")
    refused(r"params of ROTATE: angle must be a number from -3.14159 to 3.14159, got 4", step="ROTATE", params=4.0)
    refused(r"params of ROTATE: angle must .*, got nan", step="ROTATE", params=float("nan"))
    refused(r"params of FLIP: axis must be a whole number from 0 to 1, got 0.5", params=0.5)
    refused(r"params of FACET_BLUR: radius must be a whole number from 1 to 4, got 5", step="FACET_BLUR", params=[5])
    refused(r"params of CROP: x2 must be a number from 0 to 1, got 1.5", step="CROP", params=[0, 0, 1.5, 1])
    refused(
        r"params of CROP must have x1 < x2 and y1 < y2, got \[0.5, 0.0, 0.5, 1.0\]",
        step="CROP",
        params=[0.5, 0, 0.5, 1],
    )
    refused(r"params of CROP must have shape \[4\] or \[B, 4\] with 2 images, got \[3\]", step="CROP", params=[0, 0, 1])
    refused(r"params of FLIP must have shape \[1\] or \[B, 1\] with 2 images, got \[3, 1\]", params=torch.zeros(3, 1))
    refused(r"params of FLIP must be numbers, got 'left'", params="left")
    refused(r"mask must be given for INPAINT_OBJ", step="INPAINT_OBJ")
    refused(r"mask must have shape \[H, W\] or \[B, H, W\] of the images, .*, got \[5, 5\] bool", mask=mask[:, :5])
    refused(r"mask must have shape .*, got \[1, 5, 6\]", mask=mask[None])
    refused(r"mask must be bool or float, got \[5, 6\] uint8", mask=mask.byte())
    with pytest.raises(TypeError, match=r"inpainter must be a function of images and holes, got 'telea'"):
        EditExecutor("telea")  # type: ignore[arg-type]
    for wrong in (lambda images, holes: images[:1], lambda images, holes: images.byte(), lambda images, holes: None):
        with pytest.raises(ValueError, match=r"inpainter must return float images \[2, 3, 5, 6\], got "):
            EditExecutor(wrong).apply(images, "INPAINT_OBJ", mask=mask)
    with pytest.raises(ValueError, match="radius must be above 0"):
        ldie_ext.OpenCVInpainter(radius=0)
    with pytest.raises(ValueError, match=r"method must be one of \['navier_stokes', 'telea'\], got 'magic'"):
        ldie_ext.OpenCVInpainter(method="magic")  # type: ignore[arg-type]


# ---- data


@pytest.mark.parametrize("operator", EXECUTOR_OPERATORS.values(), ids=lambda operator: operator.name)
def test_data(operator: ExecutorOperator) -> None:
    assert operator.name not in EditOp.__members__
    assert operator.row().shape == (NUM_PARAMETERS,)
    assert not operator.row()[operator.parameters :].any()
    for limits in operator.limits:
        assert limits.low <= limits.start <= limits.high
        levels = limits.levels()
        assert (levels[0], levels[-1]) == (pytest.approx(limits.low), pytest.approx(limits.high))
        if limits.whole:
            assert_same(levels, levels.round())
        else:
            assert len(levels) == 10
    with pytest.raises(ValueError, match=rf"values must be {operator.parameters} for {operator.name}, got 9"):
        operator.row([0.0] * 9)


def test_labels_of_the_seeds() -> None:
    assert len({each.label for each in SEED_LABELS}) == 23
    assert sorted(each.number for each in SEED_LABELS if each.number is not None) == list(range(3, 11))
    named = {each.operator for each in SEED_LABELS if isinstance(each.operator, str)} - set(EditOp)
    assert named == set(EXECUTOR_OPERATORS)
    assert [each.label for each in SEED_LABELS if each.operator is None] == ["deform_obj"]


def test_example_runs() -> None:
    names = {"EditExecutor": EditExecutor, "torch": torch}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    (example,) = doctest.DocTestFinder(recurse=False).find(EditExecutor, "EditExecutor", globs=names)
    assert example.examples
    assert runner.run(example).failed == 0
