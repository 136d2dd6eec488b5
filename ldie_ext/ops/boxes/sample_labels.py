"""A random sample of the positive and negative candidates of each image."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register

__all__ = ["sample_labels"]


def sample_labels(
    matches: Tensor, num_samples: int, positive_fraction: float, seeds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples of candidates for a loss: some positives, then negatives, of every image of a batch at once.

    Of an image's P positive and N negative candidates, ``min(int(num_samples * positive_fraction), P)`` positives are
    taken, and negatives until there are ``num_samples`` or none is left; both uniformly and without replacement.

    Every candidate draws 32 random bits from Philox4x32-10 as a function of the image's seed and of its own place;
    those with the lowest are taken. So a sample depends on the seed and the matches alone: not on the device, the
    number of threads, the other images of the batch or the process. The same seed gives the same draw: make seeds from
    the run's seed, the step and the image.

    Args:
        matches: int64 [B, A], as :func:`ldie_ext.match_boxes` gives them: 0 or more is positive, -1 negative, anything
            below is ignored.
        num_samples: how many candidates to take of an image at most, at least 1.
        positive_fraction: at most this part of them is positive, from 0 to 1.
        seeds: int64 [B], any values.

    Returns:
        index, int64 [B, num_samples]: the candidates taken, first the positives, then the negatives, both by rising
        index, then -1; positive, bool [B, num_samples], False in unused slots; counts, int64 [B, 2]: how many positives
        and negatives there are.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or num_samples is below 1.
        ValueError: positive_fraction is not between 0 and 1.

    Differentiable: no. Deterministic: yes.

    Source: the sampler of Faster R-CNN, arXiv:1506.01497, section 3.1.3; Philox from Salmon et al., Parallel random
    numbers: as easy as 1, 2, 3 (SC 2011). Native code: csrc/boxes/sample_labels.h

    Example:
        >>> matches = torch.tensor([[2, -1, -2, -1, -1, 0, 1, -1]])
        >>> index, positive, counts = sample_labels(matches, 4, 0.25, torch.tensor([7]))
        >>> matches[0, index[0]] >= 0, counts
        (tensor([ True, False, False, False]), tensor([[1, 3]]))
    """
    if not 0 <= positive_fraction <= 1:
        raise ValueError(f"positive_fraction must be between 0 and 1, got {positive_fraction}")
    return _library.ops.sample_labels(matches, seeds, num_samples, int(num_samples * positive_fraction))


def _fake(matches: Tensor, seeds: Tensor, num_samples: int, max_positives: int) -> tuple[Tensor, Tensor, Tensor]:
    slots = (matches.shape[0], num_samples)
    return (
        matches.new_empty(slots),
        matches.new_empty(slots, dtype=torch.bool),
        matches.new_empty((matches.shape[0], 2)),
    )


register("sample_labels", fake=_fake, discrete=True)
