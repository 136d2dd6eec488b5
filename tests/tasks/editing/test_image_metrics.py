# SPDX-License-Identifier: Apache-2.0
"""Measures of pictures: equal to those of well-kept libraries, and defined at their edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from ldie.errors import DataError
from ldie.tasks.editing.metrics.image_metrics import TEN_REQUESTS, l1, language_sensitivity, request_variance, ssim
from ldie.tasks.editing.sample import EditInput, EditPrediction
from torch import Tensor

SIZES = ((24, 31), (11, 11), (5, 7), (1, 1))
ZEROS = 10
"""As wide a border of 0 that libraries, which leave out or mirror five pixels, measure as if there were 0 beyond."""
RECORDED = {(24, 31): 0.4195594169, (11, 11): 0.522312060903, (5, 7): 0.652185881934, (1, 1): 0.628974971628}
"""What scikit-image 0.26 gave for the pictures below: :func:`of_scikit_image`."""


def pictures(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Two pictures of bytes that are alike, the same on every machine: uint8 [1, 3, H, W] each."""
    places = torch.arange(3 * height * width).view(1, 3, height, width)
    smooth = places * 5 % 256
    return smooth.to(torch.uint8), ((smooth + 3 * (places * 7919 % 251)) // 4).to(torch.uint8)


def with_zeros(picture: Tensor) -> Tensor:
    return torch.nn.functional.pad(picture, (ZEROS,) * 4).double() / 255


def of_scikit_image(x: Tensor, y: Tensor) -> float:
    """The mean of its map over the pictures' own pixels."""
    measure = pytest.importorskip("skimage.metrics").structural_similarity
    images = (with_zeros(each)[0].permute(1, 2, 0).numpy() for each in (x, y))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, values = measure(*images, data_range=1.0, channel_axis=-1, full=True, **options)
    return float(values[ZEROS:-ZEROS, ZEROS:-ZEROS].mean())


@pytest.mark.parametrize("size", SIZES)
def test_ssim_is_the_recorded_one(size: tuple[int, int]) -> None:
    x, y = pictures(*size)
    assert float(ssim(x.double() / 255, y.double() / 255)) == pytest.approx(RECORDED[size], abs=1e-9)
    assert float(ssim(x, y)) == pytest.approx(RECORDED[size], abs=2e-5)
    assert float(ssim(y, x)) == pytest.approx(RECORDED[size], abs=2e-5)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_is_that_of_scikit_image(size: tuple[int, int]) -> None:
    assert of_scikit_image(*pictures(*size)) == pytest.approx(RECORDED[size], abs=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_is_that_of_torchmetrics(size: tuple[int, int]) -> None:
    measure = pytest.importorskip("torchmetrics.functional.image").structural_similarity_index_measure
    images = [with_zeros(each) for each in pictures(*size)]
    _, values = measure(*images, data_range=1.0, sigma=1.5, kernel_size=11, return_full_image=True)
    own = values[..., ZEROS:-ZEROS, ZEROS:-ZEROS].mean()
    assert float(own) == pytest.approx(RECORDED[size], abs=1e-7)


def test_batches_are_their_pictures() -> None:
    x, y = (torch.cat([each, each.flip(-1), each // 2]) for each in pictures(13, 9))
    for measure in (ssim, l1):
        single = torch.cat([measure(x[n : n + 1], y[n : n + 1]) for n in range(3)])
        torch.testing.assert_close(measure(x, y), single)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert l1(x[:0], y[:0]).shape == ssim(x[:0], y[:0]).shape == (0,)


def test_l1_is_the_mean_difference() -> None:
    x, y = pictures(6, 4)
    wanted = np.abs(x.numpy().astype(float) - y.numpy()).mean() / 255
    assert float(l1(x, y)) == pytest.approx(wanted, rel=1e-6)
    assert float(l1(x.double() / 255, y.double() / 255)) == pytest.approx(wanted, rel=1e-12)


def test_gradients() -> None:
    x = (pictures(6, 7)[0].double() / 255).requires_grad_()
    y = pictures(6, 7)[1].double() / 255
    assert torch.autograd.gradcheck(lambda image: ssim(image, y), (x,))


@pytest.mark.parametrize("measure", [l1, ssim])
def test_other_shapes_are_refused(measure: object) -> None:
    for shapes in (((1, 3, 2, 2), (1, 3, 2, 3)), ((3, 2, 2), (3, 2, 2)), ((1, 3, 0, 2), (1, 3, 0, 2))):
        with pytest.raises(ValueError, match=r"images and targets must both be \[B, C, H, W\]"):
            measure(*map(torch.zeros, shapes))  # type: ignore[operator]


def brightened(inputs: Sequence[EditInput]) -> list[EditPrediction]:
    """Adds as many grey levels as the request has characters."""
    return [EditPrediction(image=each.image + len(each.request)) for each in inputs]


def test_variance_and_sensitivity_of_requests() -> None:
    images = [torch.zeros(3, 4, 5, dtype=torch.uint8), torch.full((3, 2, 2), 7, dtype=torch.uint8)]
    lengths = np.array([len(request) for request in TEN_REQUESTS]) / 255
    assert len(set(TEN_REQUESTS)) == 10
    assert request_variance(brightened, images) == pytest.approx(lengths.var(ddof=1), rel=1e-5)
    pairs = [abs(a - b) for a, b in combinations(lengths, 2)]
    assert language_sensitivity(brightened, images) == pytest.approx(float(np.mean(pairs)), rel=1e-5)

    def deaf(inputs: Sequence[EditInput]) -> list[EditPrediction]:
        return [EditPrediction(image=each.image) for each in inputs]

    assert request_variance(deaf, images) == language_sensitivity(deaf, images) == 0


def test_images_weigh_alike() -> None:
    """One picture that varies, of many pixels, and one that does not: half of its variance."""

    def large_only(inputs: Sequence[EditInput]) -> list[EditPrediction]:
        return brightened(inputs) if inputs[0].image.shape[1] > 2 else [EditPrediction(image=i.image) for i in inputs]

    large, little = torch.zeros(3, 9, 9, dtype=torch.uint8), torch.zeros(3, 2, 2, dtype=torch.uint8)
    for measure in (request_variance, language_sensitivity):
        assert measure(large_only, [large, little]) == pytest.approx(measure(brightened, [large]) / 2, rel=1e-6)


@pytest.mark.parametrize("measure", [request_variance, language_sensitivity])
def test_what_cannot_be_measured_is_refused(measure: object) -> None:
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images must be one or more"):
        measure(brightened, [])  # type: ignore[operator]
    with pytest.raises(ValueError, match="requests must be two or more, got 1"):
        measure(brightened, [image], ["a"])  # type: ignore[operator]
    with pytest.raises(DataError, match="request 'increase the brightness': the prediction must have steps"):
        measure(lambda inputs: [EditPrediction() for _ in inputs], [image])  # type: ignore[operator]
