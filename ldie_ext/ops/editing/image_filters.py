"""Steps that read a pixel's surroundings, on images [B, 3, H, W] and params [B, n]; any size from 1 x 1 on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from ldie_ext.ops.editing.warps import sample

__all__: list[str] = []

SAMPLES = 16  # of the radial blur
SIGMA_SPACE = 2.0  # of the bilateral filter, in pixels
REACH = math.ceil(2 * SIGMA_SPACE)
LEAST_TOLERANCE = 1e-4  # below a byte's step, so that nothing changes
PATCH = 15  # of the dark channel, in pixels
MOST_HAZE = 0.95
LEAST_TRANSMISSION = 0.1
BRIGHTEST = 1000  # one in so many pixels tells the colour of the haze
STRIP = 1 << 16  # pixels at a time: what is computed on the way fits a cache, and a photograph adds nothing to it


def radial_blur(images: Tensor, params: Tensor) -> Tensor:
    """The mean of 16 samples from the pixel to a part p of its way to the middle."""
    total = torch.zeros_like(images)
    for k in range(SAMPLES):
        scale = 1 - params[:, :1] * (k / (SAMPLES - 1))
        matrices = torch.cat([torch.diag_embed(scale.expand(-1, 2)), scale.new_zeros(len(scale), 2, 1)], -1)
        total = total + sample(images, matrices, "border")
    return total / SAMPLES


def facet_blur(images: Tensor, params: Tensor) -> Tensor:
    """Kuwahara: the mean of that quarter of the surroundings which varies least; the first of equal ones."""
    rows = zip(images.split(1), params[:, 0].tolist(), strict=True)
    return torch.cat([_least_varying(image, int(radius)) for image, radius in rows]) if len(images) else images


def _least_varying(image: Tensor, radius: int) -> Tensor:
    height, width = image.shape[-2:]
    if image.numel() == 0:
        return image
    padded = pad(image, [radius] * 4, mode="replicate") - 0.5  # small numbers have small squares
    means = avg_pool2d(padded, radius + 1, 1)
    variances = (avg_pool2d(padded * padded, radius + 1, 1) - means * means).sum(1, keepdim=True)
    corners = [(y, x) for y in (0, radius) for x in (0, radius)]
    parts = [[each[..., y : y + height, x : x + width] for y, x in corners] for each in (means, variances)]
    chosen = torch.stack(parts[1]).argmin(0)
    result = parts[0][0]
    for k in range(1, len(corners)):
        result = torch.where(chosen == k, parts[0][k], result)
    return result + 0.5


def denoise(images: Tensor, params: Tensor) -> Tensor:
    """Bilateral: the mean of what is near in place (sigma 2 pixels) and in colour (sigma p)."""
    height, width = images.shape[-2:]
    if images.numel() == 0:
        return images
    rows = max(STRIP // width, 1)
    return torch.cat([_bilateral(images, params, y, min(y + rows, height)) for y in range(0, height, rows)], 2)


def _bilateral(images: Tensor, params: Tensor, top: int, bottom: int) -> Tensor:
    """Rows [top, bottom) of the result."""
    height, width = images.shape[-2:]
    above, below = min(REACH, top), min(REACH, height - bottom)
    margins = [REACH, REACH, REACH - above, REACH - below]
    near = pad(images[:, :, top - above : bottom + below], margins)
    known = pad(images.new_ones(1, 1, bottom - top + above + below, width), margins)
    centre = images[:, :, top:bottom]
    rate = 0.5 / params[:, 0].clamp(min=LEAST_TOLERANCE).square().view(-1, 1, 1, 1)
    total, weights = torch.zeros_like(centre), centre.new_zeros(len(centre), 1, bottom - top, width)
    for dy in range(2 * REACH + 1):
        for dx in range(2 * REACH + 1):
            window = (..., slice(dy, dy + bottom - top), slice(dx, dx + width))
            space = ((dy - REACH) ** 2 + (dx - REACH) ** 2) / (2 * SIGMA_SPACE**2)
            distance = (near[window] - centre).square().sum(1, keepdim=True)
            weight = torch.exp(-distance * rate - space) * known[window]
            total = total + weight * near[window]
            weights = weights + weight
    return total / weights


def dehaze(images: Tensor, params: Tensor) -> Tensor:
    """He et al.: what the haze of colour A left over, ``(x - A) / max(t, .1) + A``, of which a part p is taken away."""
    if images.numel() == 0:
        return images
    haze = _haze_colour(images)
    share = _dark_channel(images / haze.clamp(min=1e-3))
    transmission = 1 - MOST_HAZE * params[:, :1, None, None] * share
    return (images - haze) / transmission.clamp(min=LEAST_TRANSMISSION) + haze


def _dark_channel(images: Tensor) -> Tensor:
    """The least value in the patch around each pixel, [B, 1, H, W]; first along rows, then along columns."""
    least = -images.amin(1, keepdim=True)
    for kernel in ((1, PATCH), (PATCH, 1)):
        least = max_pool2d(least, kernel, 1, (kernel[0] // 2, kernel[1] // 2))
    return -least


def _haze_colour(images: Tensor) -> Tensor:
    """The mean colour where the dark channel is brightest, one pixel in 1000, [B, 3, 1, 1]."""
    dark = _dark_channel(images.detach()).flatten(1)
    count = dark.shape[1]
    bound = dark.kthvalue(count - max(count // BRIGHTEST, 1) + 1, 1, keepdim=True).values
    chosen = (dark >= bound).view(len(images), 1, *images.shape[2:])
    return (images * chosen).sum((2, 3), keepdim=True) / chosen.sum((2, 3), keepdim=True).clamp(min=1)
