"""masked_scale_loss against the materialised product, on every backend."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import reference.adversarial as reference
import torch
from adversarial.scale_inputs import BATCH, CLASSES, SCALES, SIZE, box_inputs, loss_and_gradient, random_scores, to
from backends import Backend
from op_checks import assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

MODES = list(itertools.product(["detector", "discriminator"], ["wasserstein", "hinge"], [True, False], [False, True]))
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def expected_loss_and_gradient(scores: Tensor, scale: int, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """In float64, from the same (perhaps 16-bit) scores."""
    leaf = scores.detach().double().requires_grad_()
    if kwargs.get("weight") is not None:
        kwargs["weight"] = kwargs["weight"].double()
    loss = reference.masked_scale_loss(leaf, scale, **kwargs)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def assert_matches(backend: Backend, scores: Tensor, scale: int, **kwargs: Any) -> None:
    loss, gradient = loss_and_gradient(scores.to(backend.device), scale, **to(backend, kwargs))
    expected_loss, expected_gradient = expected_loss_and_gradient(scores, scale, **kwargs)
    assert loss.dtype == (torch.float64 if scores.dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(loss.cpu().double(), expected_loss, rtol=1e-6, atol=1e-6)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(scores.dtype, 8e-3)
    torch.testing.assert_close(gradient.cpu().double(), expected_gradient, rtol=tolerance, atol=1e-7)


@pytest.mark.sanitize
@pytest.mark.parametrize("source", ["boxes", "masks", "unmasked"])
@pytest.mark.parametrize(("side", "kind", "normalize", "class_agnostic"), MODES)
def test_equals_materialised_product(
    backend: Backend, source: str, side: str, kind: str, normalize: bool, class_agnostic: bool
) -> None:
    """CN-4: class-specific and class-agnostic masks, in every mode, for every true scale."""
    kwargs: dict[str, Any] = {"side": side, "kind": kind, "normalize": normalize, "class_agnostic": class_agnostic}
    if source == "boxes":
        kwargs |= {**box_inputs(17), "num_classes": CLASSES}
    elif source == "masks":
        kwargs |= {"masks": torch.rand(BATCH, CLASSES, *SIZE) < 0.3}
    for scale in range(SCALES):
        assert_matches(backend, random_scores(), scale, **kwargs)


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
@pytest.mark.parametrize("channels", [1, SCALES])
def test_weight_scales_the_scores(backend: Backend, kind: str, channels: int) -> None:
    """CN-7: `scaling` is a multiplicative weight of one channel or all."""
    weight = torch.rand(BATCH, channels, *SIZE) * 2
    kwargs = {**box_inputs(17), "num_classes": CLASSES, "kind": kind, "weight": weight}
    assert_matches(backend, random_scores(), 1, **kwargs)
    assert_matches(backend, random_scores(), 1, kind=kind, weight=weight)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rounding", ["trunc", "outward"])
@pytest.mark.parametrize("size", [(16, 32), (1, 1), (3, 8), (0, 4), (4, 0), (40, 101)])
def test_dtypes_and_sizes(backend: Backend, dtype: torch.dtype, rounding: str, size: tuple[int, int]) -> None:
    inputs = box_inputs(7, size)
    inputs["boxes"] = inputs["boxes"].to(dtype)
    assert_matches(backend, random_scores(dtype, size), 2, **inputs, num_classes=CLASSES, rounding=rounding)
    masks = torch.rand(BATCH, 2, *size) < 0.5
    assert_matches(backend, random_scores(dtype, size), 0, masks=masks, kind="hinge")


@pytest.mark.parametrize("score_dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("box_dtype", FLOATS)
def test_box_dtype_is_independent_of_score_dtype(
    backend: Backend, box_dtype: torch.dtype, score_dtype: torch.dtype
) -> None:
    inputs = box_inputs(9)
    inputs["boxes"] = inputs["boxes"].to(box_dtype)
    assert_matches(backend, random_scores(score_dtype), 0, **inputs, num_classes=CLASSES)


@pytest.mark.sanitize
@pytest.mark.parametrize(("classes", "count"), [(300, 500), (5, 500), (300, 40), (10**9, 60)])
def test_many_classes_and_boxes(backend: Backend, classes: int, count: int) -> None:
    """More classes than bits of a word, more boxes than a block lists at once, labels far apart."""
    inputs = box_inputs(count, classes=classes)
    labels = compact(inputs["labels"], classes)
    masks = reference.box_class_masks(inputs["boxes"], labels, inputs["offsets"], int(labels.max()) + 1, SIZE)
    scores = random_scores()
    actual = loss_and_gradient(scores.to(backend.device), 0, **to(backend, inputs), num_classes=classes)
    expected = expected_loss_and_gradient(scores, 0, masks=masks)
    torch.testing.assert_close(actual[0].cpu().double(), expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(actual[1].cpu().double(), expected[1], rtol=1e-6, atol=1e-9)


def compact(labels: Tensor, classes: int) -> Tensor:
    """The same classes with small numbers; -1 where the label is no class."""
    small = labels.unique(return_inverse=True)[1]
    return torch.where((labels >= 0) & (labels < classes), small, -1)


def test_more_planes_than_a_byte_counts(backend: Backend) -> None:
    masks = torch.rand(BATCH, 700, *SIZE) < 0.9
    assert_matches(backend, random_scores(), 1, masks=masks)


def test_any_value_but_zero_covers(backend: Backend) -> None:
    masks = torch.randint(0, 256, (BATCH, CLASSES, *SIZE), dtype=torch.uint8) * (torch.rand(BATCH, 1, *SIZE) < 0.5)
    scores = random_scores()
    actual = ldie_ext.masked_scale_loss(scores.to(backend.device), 0, masks=masks.to(backend.device))
    expected = ldie_ext.masked_scale_loss(scores.to(backend.device), 0, masks=(masks != 0).to(backend.device))
    assert_same(actual, expected)


def test_class_agnostic_is_the_union(backend: Backend) -> None:
    """CN-4: class-agnostic counts min(K, 1), class-specific counts K; with one class the two agree."""
    inputs, scores = to(backend, box_inputs(17)), random_scores().to(backend.device)
    masks = reference.box_class_masks(*(value.cpu() for value in inputs.values()), CLASSES + 2, SIZE)
    union = ldie_ext.box_class_masks(*inputs.values(), 1, SIZE, class_agnostic=True)
    agnostic = ldie_ext.masked_scale_loss(scores, 0, **inputs, class_agnostic=True)
    assert_same(agnostic, ldie_ext.masked_scale_loss(scores, 0, masks=union))
    counts = masks.sum(1, keepdim=True).double()
    signed = scores.cpu().double() * torch.tensor([-1.0, 1, 1])[:, None, None]
    specific = ldie_ext.masked_scale_loss(scores, 0, masks=masks.to(backend.device))
    torch.testing.assert_close(specific.cpu().double(), (counts * signed).sum() / (3 * counts.sum()), rtol=1e-6, atol=0)
    one_class = {**inputs, "labels": torch.zeros_like(inputs["labels"])}
    assert_same(ldie_ext.masked_scale_loss(scores, 0, **one_class, num_classes=1), agnostic)


def test_shapes_of_the_seed(backend: Backend) -> None:
    """CN-5: masks of one plane or one per class beside scores [B, 3, H, W]; anything else is refused."""
    scores = random_scores().to(backend.device)
    for planes in (1, 80):
        masks = torch.ones(BATCH, planes, *SIZE, dtype=torch.bool, device=backend.device)
        torch.testing.assert_close(
            ldie_ext.masked_scale_loss(scores, 0, masks=masks), ldie_ext.masked_scale_loss(scores, 0)
        )
    with pytest.raises(RuntimeError, match=r"masks must have shape \[B, Nc, H, W\]"):
        ldie_ext.masked_scale_loss(scores, 0, masks=masks[:, :, 1:])


def test_scale_stays_dimension_one_of_the_product(backend: Backend) -> None:
    """CN-6: (B * Nc, S): dimension 1 is the scale, so the true scale's channel alone changes sign."""
    scores, masks = random_scores().to(backend.device), torch.rand(BATCH, CLASSES, *SIZE, device=backend.device) < 0.5
    product = ldie_ext.materialize_masked_scores(scores, masks)
    assert product.shape == (BATCH * CLASSES, SCALES, *SIZE)
    assert_same(product.cpu(), reference.materialize_masked_scores(scores.cpu(), masks.cpu()))
    for scale in range(SCALES):
        signs = torch.ones(SCALES, dtype=torch.float64, device=backend.device)
        signs[scale] = -1
        expected = (product.double().mean((0, 2, 3)) * signs).mean()
        actual = ldie_ext.masked_scale_loss(scores, scale, masks=masks, normalize=False)
        torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_inputs_stay_unchanged(backend: Backend, kind: str) -> None:
    """CN-7: the loss of the discriminator is not changed by computing the detector's first (the ancestor's bug)."""
    inputs = to(backend, {**box_inputs(9), "weight": torch.rand(BATCH, 1, *SIZE)})
    scores = random_scores().to(backend.device).requires_grad_()
    before = [value.detach().clone() for value in (scores, *inputs.values())]
    losses = {}
    for side in ("detector", "discriminator", "detector"):
        loss = ldie_ext.masked_scale_loss(scores, 0, **inputs, num_classes=CLASSES, side=side, kind=kind)
        loss.backward()
        assert_same(losses.setdefault(side, loss.detach()), loss.detach())
    assert_same(tuple(value.detach() for value in (scores, *inputs.values())), tuple(before))
    if kind == "wasserstein":
        assert_same(losses["detector"], -losses["discriminator"])


@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_normalisation_identity(backend: Backend, kind: str) -> None:
    """CN-8: L_norm * sum(M) == L_unnorm * B * Nc * H * W (the hinge less its constant 1 per masked-out element)."""
    inputs, scores = box_inputs(17), random_scores(torch.float64)
    masks = reference.box_class_masks(*inputs.values(), CLASSES, SIZE)
    mask_sum, elements = masks.sum(), masks.numel()
    normalised, plain = (
        ldie_ext.masked_scale_loss(
            scores.to(backend.device), 0, **to(backend, inputs), num_classes=CLASSES, kind=kind, normalize=normalize
        ).cpu()
        for normalize in (True, False)
    )
    constant = elements - mask_sum if kind == "hinge" else 0
    torch.testing.assert_close(normalised * mask_sum, plain * elements - constant, rtol=1e-12, atol=1e-12)


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", ["wasserstein", "hinge"])
def test_empty_mask(backend: Backend, kind: str) -> None:
    """CN-11: the hinge knows masks; nothing covered gives loss 0 and gradient 0, not NaN."""
    scores = random_scores().to(backend.device)
    no_boxes = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "offsets": torch.zeros(BATCH + 1, dtype=torch.int64),
    }
    for kwargs in (
        {**to(backend, no_boxes), "num_classes": CLASSES},
        {"masks": torch.zeros(BATCH, CLASSES, *SIZE, dtype=torch.bool, device=backend.device)},
        {"masks": torch.zeros(BATCH, 0, *SIZE, dtype=torch.bool, device=backend.device)},
    ):
        loss, gradient = loss_and_gradient(scores, 0, **kwargs, kind=kind)
        assert loss == 0
        assert not gradient.any()
    constant = 1.0 if kind == "hinge" else 0.0
    assert (
        ldie_ext.masked_scale_loss(scores, 0, **to(backend, no_boxes), num_classes=2, kind=kind, normalize=False)
        == constant
    )


@pytest.mark.parametrize("shape", [(0, SCALES, *SIZE), (BATCH, SCALES, 0, 3), (BATCH, SCALES, 3, 0)])
def test_empty_scores(backend: Backend, shape: tuple[int, ...]) -> None:
    scores = torch.zeros(shape, device=backend.device)
    masks = torch.ones(shape[0], CLASSES, *shape[2:], dtype=torch.bool, device=backend.device)
    offsets = torch.zeros(shape[0] + 1, dtype=torch.int64, device=backend.device)
    boxes, labels = torch.zeros(0, 4, device=backend.device), offsets[:0]
    for kwargs in ({}, {"masks": masks}, {"boxes": boxes, "labels": labels, "offsets": offsets, "num_classes": 2}):
        for normalize in (True, False):
            loss, gradient = loss_and_gradient(scores, 0, **kwargs, normalize=normalize)  # type: ignore[arg-type]
            assert loss == 0
            assert gradient.shape == shape


def test_degenerate_boxes_and_scores(backend: Backend) -> None:
    nan, inf, huge = float("nan"), float("inf"), 3e38
    boxes = torch.tensor([[3, 3, 1, 1], [nan, 0, 4, 4], [0, 0, 4, nan], [-9, -9, -1, -1], [50, 50, 60, 60],
                          [2.2, 2.2, 2.9, 2.9], [-huge, -huge, huge, 2], [-inf, -inf, inf, 1],
                          [0, 0, 2, 2]])  # fmt: skip
    labels, offsets = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, -1]), torch.tensor([0, 9, 9, 9])
    inputs = {"boxes": boxes, "labels": labels, "offsets": offsets, "num_classes": 3}
    assert_matches(backend, random_scores(), 0, **inputs)
    scores = random_scores()
    scores[:, :, 3:] = nan  # no box reaches them
    scores[1:, :, :2] = inf
    loss, gradient = loss_and_gradient(scores.to(backend.device), 0, **to(backend, inputs))
    expected, _ = expected_loss_and_gradient(scores.nan_to_num(0, 0, 0), 0, **inputs)
    torch.testing.assert_close(loss.cpu().double(), expected, rtol=1e-6, atol=1e-6)
    assert gradient.isfinite().all()
    scores[0, 0, 0, 0] = nan  # covered: must not be hidden
    assert ldie_ext.masked_scale_loss(scores.to(backend.device), 0, **to(backend, inputs)).isnan()
    assert ldie_ext.masked_scale_loss(scores.to(backend.device), 0, **to(backend, inputs), kind="hinge").isnan()


def test_non_contiguous(backend: Backend) -> None:
    inputs, scores = to(backend, box_inputs(9)), random_scores().to(backend.device)
    weight = torch.rand(BATCH, 1, *SIZE, device=backend.device)
    expected = loss_and_gradient(scores, 0, **inputs, num_classes=CLASSES, weight=weight)
    strided = {
        "boxes": inputs["boxes"].t().contiguous().t(),
        "labels": inputs["labels"].repeat_interleave(2)[::2],
        "offsets": inputs["offsets"].repeat_interleave(3)[::3],
    }
    channels_last = scores.contiguous(memory_format=torch.channels_last)
    expanded = weight[:1].expand_as(weight)
    assert_same(loss_and_gradient(channels_last, 0, **strided, num_classes=CLASSES, weight=weight), expected)
    masks = torch.rand(BATCH, 1, *SIZE, device=backend.device) < 0.5
    assert_same(
        loss_and_gradient(scores, 0, masks=masks.expand(-1, 4, -1, -1), weight=expanded),
        loss_and_gradient(scores, 0, masks=masks.repeat(1, 4, 1, 1), weight=expanded.clone()),
    )


def test_threads_agree() -> None:
    inputs = box_inputs(60, (128, 128))
    scores = random_scores(size=(128, 128))
    assert_threads_agree(lambda: loss_and_gradient(scores, 0, **inputs, num_classes=CLASSES))


def test_errors_name_the_argument(backend: Backend) -> None:
    inputs, scores = to(backend, box_inputs(4)), random_scores().to(backend.device)
    boxes, labels, offsets = inputs.values()
    call = ldie_ext.masked_scale_loss
    masks = torch.ones(BATCH, 2, *SIZE, dtype=torch.bool, device=backend.device)
    weight = torch.ones(BATCH, 1, *SIZE, device=backend.device)
    with pytest.raises(ValueError, match=r"side must be one of .*'detector'.*, got 'left'"):
        call(scores, 0, side="left")
    with pytest.raises(ValueError, match=r"kind must be one of .*'hinge'"):
        call(scores, 0, kind="l2")
    with pytest.raises(ValueError, match="rounding must be one of"):
        call(scores, 0, rounding="nearest")
    with pytest.raises(ValueError, match="num_classes must be given with boxes"):
        call(scores, 0, boxes, labels, offsets)
    with pytest.raises(RuntimeError, match="boxes and masks exclude each other"):
        call(scores, 0, boxes, labels, offsets, masks=masks, num_classes=3)
    for partial in ((boxes, None, offsets), (boxes, labels, None), (None, labels, None)):
        with pytest.raises(RuntimeError, match="boxes, labels and offsets belong together"):
            call(scores, 0, *partial, num_classes=3)
    for scale in (-1, SCALES):
        with pytest.raises(RuntimeError, match=f"scale must be a channel of scores, 0 <= scale < 3, got {scale}"):
            call(scores, scale)
    with pytest.raises(RuntimeError, match=r"scores must have shape \[B, S, H, W\]"):
        call(scores[0], 0)
    with pytest.raises(RuntimeError, match="scores must be float32"):
        call(scores.long(), 0)
    with pytest.raises(RuntimeError, match="masks must be uint8, got"):
        call(scores, 0, masks=masks.float())
    with pytest.raises(RuntimeError, match=r"offsets must have shape \[B \+ 1\] with B = 3"):
        call(scores, 0, boxes, labels, offsets[[0, 1, 3]], num_classes=3)
    for count, requirement in ((0, "at least 1, got 0"), (2**31, r"below 2\^31")):
        with pytest.raises(RuntimeError, match=f"num_classes must be {requirement}"):
            call(scores, 0, boxes, labels, offsets, num_classes=count)
    with pytest.raises(RuntimeError, match=r"weight must have shape \[B, 1 or S, H, W\]"):
        call(scores, 0, weight=weight[:, :, :4])
    with pytest.raises(RuntimeError, match="weight is a constant, but it requires a gradient"):
        call(scores, 0, weight=weight.requires_grad_())
