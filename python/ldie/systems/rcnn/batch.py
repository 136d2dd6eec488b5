# SPDX-License-Identifier: Apache-2.0
"""Training batches: images side by side, their objects one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.contract import Facts
from ldie.systems.rcnn.config import RCNNConfig
from ldie.tasks.detection import Sample
from ldie.tasks.detection.batches import BatchMasks, batch_masks, object_slots, stacked
from ldie.tasks.detection.whole_images import WholeImages


@dataclass(frozen=True)
class Batch:
    """B images with G objects in all; image b owns the objects offsets[b]..offsets[b + 1]."""

    images: Tensor  # uint8 [B,3,H,W], RGB, each in the top left corner
    sizes: Tensor  # int64 [B,2], height and width of each
    ids: Tensor  # int64 [B], of the data set's images
    boxes: Tensor  # float32 [G,4]
    labels: Tensor  # int64 [G]
    offsets: Tensor  # int64 [B+1]
    slots: Tensor  # int64 [B,M], each image's objects, then G
    masks: BatchMasks | None
    keypoints: Tensor | None  # float32 [G,K,3], pixel indices

    @property
    def padded_boxes(self) -> Tensor:
        """Float32 [G+1,4]: the boxes, and one that stands for no object."""
        return torch.cat([self.boxes, self.boxes.new_zeros(1, 4)])


def training_images(config: RCNNConfig, facts: Facts) -> WholeImages:
    """What makes of a sample what the heads of a configuration learn from."""
    model = config.model
    return WholeImages(
        config.solver.data,
        facts,
        masks=model.mask_head.enabled,
        keypoints=model.keypoint_head.enabled,
        convention=model.convention,
    )


def collate(samples: Sequence[Sample], multiple: int) -> Batch:
    """A batch of images filled up at the right and the bottom.

    Args:
        samples: Without crowds and boxes without area.
        multiple: Of which both sides are to be.
    """
    images, sizes = stacked([sample.image for sample in samples], multiple)
    ends, slots = object_slots(samples)
    keypoints = [sample.keypoints for sample in samples if sample.keypoints is not None]
    return Batch(
        images,
        sizes,
        torch.tensor([sample.image_id for sample in samples]),
        torch.cat([sample.boxes for sample in samples]),
        torch.cat([sample.labels for sample in samples]),
        ends,
        slots,
        batch_masks(samples, (images.shape[2], images.shape[3])),
        torch.cat(keypoints) if len(keypoints) == len(samples) else None,
    )
