# SPDX-License-Identifier: Apache-2.0
"""Mask and Keypoint R-CNN as one graph, for export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldie.nn.precision import full_precision
from ldie.systems.rcnn.config import RCNNConfig
from ldie.systems.rcnn.postprocess import Found, draw_masks, image_keypoints, own_class
from ldie.tasks.detection.graph import DetectionGraph, WholeImageInput
from ldie.tasks.detection.masks import Masks, Size


class RCNNGraph(DetectionGraph):
    """From whole images of one size to objects with masks and keypoints.

    Args:
        model: The :class:`ldie.systems.rcnn.RCNN`, all of which is in the graph.
        config: The model's.
        size: (H, W) of the images.
    """

    def __init__(self, model: nn.Module, config: RCNNConfig, size: Size) -> None:
        super().__init__(size, config.test.detections, config.test.score_threshold)
        self.model: Any = model
        self.config = config
        self.input = WholeImageInput(size, config.input, config.model.convention)
        self.sizes: Tensor
        self.ratio: Tensor
        self.register_buffer("sizes", torch.tensor([self.input.target]))
        self.register_buffer("ratio", torch.tensor(size).flip(0) / torch.tensor(self.input.target).flip(0))

    @property
    def details(self) -> dict[str, str]:
        """See :attr:`DetectionGraph.details`."""
        model = self.config.model
        side, details = 2 * model.mask_head.pool, {}
        if model.mask_head.enabled:
            details["masks"] = f"{side}, {side}], over the box: probabilities that it is the object"
        if model.keypoint_head.enabled:
            details["keypoints"] = f"{model.num_keypoints}, 3], x and y as indices of pixels, and a score"
        return details

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`DetectionGraph.forward`."""
        model, config, convention = self.model, self.config, self.config.model.convention
        inputs, sizes = self.input(images), self.sizes.expand(images.shape[0], 2)
        maps = model.backbone(inputs)
        outlook = model.proposal_generator(maps, (inputs.shape[2], inputs.shape[3]))
        found = model.locate(maps, *model.proposal_generator.propose(outlook, sizes, training=False), sizes)
        found, offsets = _with_one_more(found), found.offsets
        masks, keypoints = model.describe(maps, found.boxes, found.offsets)
        fields = [found.boxes * self.ratio.repeat(2), found.scores, found.labels]
        if masks is not None:
            fields.append(own_class(full_precision(masks), found.labels))
        if keypoints is not None:
            heat = full_precision(keypoints)
            fields.append(image_keypoints(heat, found.boxes, self.ratio, config.test, convention))
        return self._in_slots(fields, offsets)

    def _in_slots(self, fields: Sequence[Tensor], offsets: Tensor) -> tuple[Tensor, ...]:
        """Fields of the objects of all images, image by image, as [B,slots,...]; rows after these are left out."""
        rows = offsets[:-1, None] + torch.arange(self.slots, device=offsets.device)
        used = rows < offsets[1:, None]
        fills = (0, 0, -1) + (0,) * (len(fields) - 3)
        return tuple(
            torch.cat((field, field.new_full((1, *field.shape[1:]), fill)))[rows.where(used, -1)]
            for field, fill in zip(fields, fills, strict=True)
        )

    def draw(self, masks: Tensor, boxes: Tensor) -> Masks:
        """See :meth:`DetectionGraph.draw`."""
        return draw_masks(masks, boxes, self.size, self.config.test, self.config.model.convention)


def _with_one_more(found: Found) -> Found:
    """The last image with an empty box more: torch.export cannot tell what normalisations do with no object at all."""
    boxes, scores, labels, offsets = found
    more = torch.cat((offsets[:-1], offsets[-1:] + 1))
    return Found(
        functional.pad(boxes, (0, 0, 0, 1)), functional.pad(scores, (0, 1)), functional.pad(labels, (0, 1)), more
    )
