# SPDX-License-Identifier: Apache-2.0
"""SOLO as one graph, for export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ldie.systems.solo.config import SOLOConfig
from ldie.systems.solo.head import Outlook
from ldie.systems.solo.postprocess import candidates, dense_shapes, draw, draw_runs, finest_size, suppress
from ldie.tasks.detection.graph import WholeImageInput, in_slots
from ldie.tasks.detection.mask_graph import MaskGraph, with_boxes
from ldie.tasks.detection.mask_maps import Frame
from ldie.tasks.detection.masks import Masks, Size


class SOLOGraph(MaskGraph):
    """From whole images of one size to objects with the probability maps of their masks.

    Args:
        model: The :class:`ldie.systems.solo.SOLO`, all of which is in the graph.
        config: The model's.
        size: (H, W) of the images.
    """

    def __init__(self, model: nn.Module, config: SOLOConfig, size: Size) -> None:
        super().__init__(size, config.test.detections, config.test.update_threshold)
        self.model: Any = model
        self.config = config
        self.input = WholeImageInput(size, config.input, "detectron2")
        self.frame = Frame(self.input.filled, self.input.target, size)
        self.cells = finest_size(self.frame, config)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`DetectionGraph.forward`."""
        outlook = self.model(self.input(images))
        found = [in_slots(self._objects(outlook, image), self.slots) for image in range(images.shape[0])]
        return tuple(torch.stack(field) for field in zip(*found))

    def _objects(self, outlook: Outlook, image: int) -> tuple[Tensor, ...]:
        """Boxes, scores, labels and maps of one image, as :func:`ldie.systems.solo.postprocess.find_objects` has it."""
        found = candidates(outlook, image, self.config)
        shapes = dense_shapes(self.model.head, outlook, image, found, self.frame, self.config)
        ranking = suppress(found, shapes, self.config)
        masks = draw(shapes.maps, ranking.rows, self.frame, self.config)
        return with_boxes(masks, ranking, shapes.maps[ranking.rows], self.config.test.min_pixels)

    def draw(self, masks: Tensor, boxes: Tensor) -> Masks:
        """See :meth:`DetectionGraph.draw`."""
        return draw_runs(masks, None, self.frame, self.config)
