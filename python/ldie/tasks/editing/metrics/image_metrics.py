# SPDX-License-Identifier: Apache-2.0
"""How near pictures are to others, and how much a model's answers to different requests differ on one picture.

The Frechet inception distance and perceptual distances are not here: they are defined by the weights of an Inception
and a VGG network that others trained and this package does not have. With other weights they would be other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ldie.errors import DataError
from ldie.tasks.editing.replay import picture_of
from ldie.tasks.editing.sample import EditInput, EditPrediction
from ldie_ext.ops.editing.quantisation import as_unit

TEN_REQUESTS = (
    "increase the brightness",
    "decrease the brightness",
    "enhance the color",
    "decrease the color",
    "improve contrast",
    "reduce contrast",
    "increase saturation",
    "reduce saturation",
    "increase the brightness a little",
    "increase the brightness a lot",
)
"""The requests that T2ONet (Shi et al., arXiv:2106.13156) is asked on every picture to see whether it listens."""
WINDOW, SIGMA = 11, 1.5
"""Pixels of SSIM's Gaussian window along a side, and its standard deviation."""
C1, C2 = 0.01**2, 0.03**2
"""SSIM's constants for values from 0 to 1."""

Predict = Callable[[Sequence[EditInput]], Sequence[EditPrediction]]
"""What :meth:`ldie.contract.Model.predict` of a model of this task is."""


def l1(images: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference of each picture: ``mean |x - y|`` over channels and pixels.

    Args:
        images: [B, C, H, W], uint8 or float in [0, 1].
        targets: The same.

    Returns:
        float32 [B] (float64 of float64), in [0, 1]. Differentiable.

    Raises:
        ValueError: Shapes that differ, or pictures without pixels.

    Example:
        >>> l1(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.25))
        tensor([0.2500])
    """
    images, targets = _pair(images, targets)
    return (images - targets).abs().flatten(1).mean(1)


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity of each picture (SSIM).

    The mean over channels and pixels of ``(2 mx my + C1) (2 sxy + C2) / ((mx^2 + my^2 + C1) (sx^2 + sy^2 + C2))``, with
    means, variances and covariance under a Gaussian window of 11 x 11 pixels and sigma 1.5 around the pixel.

    Beyond a picture's border there is 0, as in the original system's measure. scikit-image and torchmetrics leave the
    five pixels along the border out, so that all three agree inside, not in the mean. A window may hang out on both
    sides: pictures of any size have a value, down to one pixel.

    Args:
        images: [B, C, H, W], uint8 or float in [0, 1].
        targets: The same.

    Returns:
        float32 [B] (float64 of float64), in [-1, 1], 1 for equal pictures. Differentiable.

    Raises:
        ValueError: Shapes that differ, or pictures without pixels.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004, equation 13.

    Example:
        >>> ssim(torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
        tensor([1.])
    """
    x, y = _pair(images, targets)
    mean_x, mean_y, xx, yy, xy = (_windowed(each) for each in (x, y, x * x, y * y, x * y))
    variances = xx - mean_x**2 + yy - mean_y**2
    covariance = xy - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return (likeness / ((mean_x**2 + mean_y**2 + C1) * (variances + C2))).flatten(1).mean(1)


def answers(predict: Predict, image: Tensor, requests: Sequence[str] = TEN_REQUESTS) -> Tensor:
    """What a model makes of one picture at each of some requests: float32 [requests, 3, H, W] in [0, 1].

    Args:
        predict: A model's; it must edit.
        image: uint8 [3, H, W].
        requests: What it is asked for.

    Raises:
        DataError: A prediction has neither picture nor steps.
    """
    pictures = []
    inputs = [EditInput(image, request) for request in requests]
    for given, prediction in zip(inputs, predict(inputs), strict=True):
        picture = picture_of(given, prediction)
        if picture is None:
            raise DataError(f"request {given.request!r}: the prediction must have steps; give a model that edits")
        pictures.append(picture)
    return as_unit(torch.stack(pictures))


def request_variance(predict: Predict, images: Iterable[Tensor], requests: Sequence[str] = TEN_REQUESTS) -> float:
    """How much a model's answers vary with the request: 0 where it does not listen.

    The unbiased variance of each value of a picture, from 0 to 1, over the answers to R requests,
    ``sum (y_r - mean y)^2 / (R - 1)``; the mean of it over a picture's values, then over the pictures.

    Args:
        predict: A model's.
        images: uint8 [3, H, W], of any sizes; taken one at a time.
        requests: Two or more, by default the ten fixed ones.

    Raises:
        ValueError: No picture, or fewer than two requests.
        DataError: A prediction has neither picture nor steps.
    """
    _check_requests(requests)
    return _mean_over_images(answers(predict, image, requests).var(0).mean() for image in images)


def language_sensitivity(predict: Predict, images: Iterable[Tensor], requests: Sequence[str] = TEN_REQUESTS) -> float:
    """How far a model's answers to different requests are from each other: 0 where it does not listen.

    The mean of :func:`l1` over all pairs of requests, on each picture; then over the pictures.

    Args:
        predict: A model's.
        images: uint8 [3, H, W], of any sizes; taken one at a time.
        requests: Two or more, by default the ten fixed ones.

    Raises:
        ValueError: No picture, or fewer than two requests.
        DataError: A prediction has neither picture nor steps.
    """
    _check_requests(requests)
    first, second = map(list, zip(*combinations(range(len(requests)), 2), strict=True))
    outputs = (answers(predict, image, requests) for image in images)
    return _mean_over_images(l1(each[first], each[second]).mean() for each in outputs)


def _pair(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if images.shape != targets.shape or images.dim() != 4 or 0 in images.shape[1:]:
        found = f"{list(images.shape)} and {list(targets.shape)}"
        raise ValueError(f"images and targets must both be [B, C, H, W] with pixels, got {found}")
    x, y = as_unit(images), as_unit(targets)
    return (x, y.to(x)) if x.dtype == torch.float64 else (x.float(), y.float())


def _window() -> list[float]:
    weights = [math.exp(-((k - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for k in range(WINDOW)]
    return [weight / sum(weights) for weight in weights]


def _windowed(values: Tensor) -> Tensor:
    """The weighted mean around each pixel: along columns, then along rows.

    A sum of shifted pictures, which takes a tenth of the time of convolutions with a single channel.
    """
    edge = WINDOW // 2
    for dim, padding in ((2, (0, 0, edge, edge)), (3, (edge, edge))):
        length, padded = values.shape[dim], pad(values, padding)
        shifted = (weight * padded.narrow(dim, k, length) for k, weight in enumerate(_window()))
        values = reduce(torch.add, shifted)
    return values


def _check_requests(requests: Sequence[str]) -> None:
    if len(requests) < 2:
        raise ValueError(f"requests must be two or more, got {len(requests)}")


def _mean_over_images(values: Iterable[Tensor]) -> float:
    each = [float(value) for value in values]
    if not each:
        raise ValueError("images must be one or more, got none")
    return sum(each) / len(each)
