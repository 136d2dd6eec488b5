"""What rounding a target to 8 bits does to distances, and from that: how near is near enough.

With q = 1 / 255, rounding adds to each value an error that is uniform in [-q / 2, q / 2], but for values that are
clamped to 0 or 1. So the edits that were made end at a mean absolute distance of q / 4 = .00098 times the share of the
others: :func:`floor_of`. Each |error| has a standard deviation of q / sqrt(48), and a mean over n of them
q / sqrt(48 n): :func:`margin_of` is twice that, what two orders must differ by to be told apart.

Edits that miss the image before rounding by m (root mean square, at most q / 2) add m^2 / q to the distance. More
parameters than needed take something off, for they follow the errors: p of them about p / (2 n) of the floor if errors
were independent, but pixels of one colour share one, so that n is the number of colours of which each is rounded by
itself; with 28 more parameters (both curves) and 256 colours that is 5.5 % of q / 4, and the mean over 256 colours has
a standard deviation of 3.6 % of it. ``TOLERANCE`` is their sum with that taken twice, 12.7 % of q / 4 = 1.24e-4,
rounded up to q / 30: edits that miss by less than .18 levels cannot be told from the right ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__: list[str] = []

LEVEL = 1 / 255
TOLERANCE = LEVEL / 30


def floor_of(target: Tensor, edited: Tensor | None = None) -> float:
    """The mean absolute distance that rounding leaves; 0 where the target [3, H, W] in [0, 1] is not of 8 bits.

    Args:
        target: the rounded image.
        edited: bool [3, H, W], its values that were rounded after an edit; None: all of them.
    """
    levels = target.double() * 255
    if not target.numel() or (levels - levels.round()).abs().max() > 1e-3:
        return 0.0
    rounded = (levels > 0.5) & (levels < 254.5)
    if edited is not None:
        rounded &= edited
    return LEVEL / 4 * float(rounded.double().mean())


def margin_of(values: int) -> float:
    """How far the distances of two orders are apart, over so many values, before one is worse than the other."""
    return 2 * LEVEL / math.sqrt(48 * max(values, 1))


def as_unit(image: Tensor) -> Tensor:
    """An image of 8 bits or floats as floats from 0 to 1, of 32 bits at least."""
    if image.dtype == torch.uint8:
        return image.to(torch.float32) / 255
    return image if image.dtype == torch.float64 else image.to(torch.float32)


def to_bytes(images: Tensor) -> Tensor:
    """Images of floats from 0 to 1 as bytes, each the nearest; what are bytes already as they are."""
    return images if images.dtype == torch.uint8 else images.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
