# SPDX-License-Identifier: Apache-2.0
"""Training batches: images side by side, their objects one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.tasks.detection import Sample
from ldie.tasks.detection.batches import BatchMasks, batch_masks, stacked


@dataclass(frozen=True)
class Batch:
    """B images with G objects in all; image b owns the objects offsets[b]..offsets[b + 1]."""

    images: Tensor  # uint8 [B,3,H,W], RGB, each in the top left corner
    sizes: Tensor  # int64 [B,2], height and width of each
    boxes: Tensor  # float32 [G,4]
    labels: Tensor  # int64 [G]
    offsets: Tensor  # int64 [B+1]
    masks: BatchMasks


def collate(samples: Sequence[Sample], multiple: int) -> Batch:
    """A batch of images filled up at the right and the bottom.

    Args:
        samples: With masks, without crowds.
        multiple: Of which both sides are to be.
    """
    images, sizes = stacked([sample.image for sample in samples], multiple)
    masks = batch_masks(samples, (images.shape[2], images.shape[3]))
    assert masks is not None  # check_data() made sure
    return Batch(
        images,
        sizes,
        torch.cat([sample.boxes for sample in samples]),
        torch.cat([sample.labels for sample in samples]),
        torch.tensor([0, *map(len, samples)]).cumsum(0),
        masks,
    )
