# SPDX-License-Identifier: Apache-2.0
"""The mask pyramid as one graph, for export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.postprocess import Scored, draw_runs, ranked, scored
from ldie.tasks.detection import mask_maps
from ldie.tasks.detection.graph import WholeImageInput, in_slots
from ldie.tasks.detection.mask_graph import MaskGraph, with_boxes
from ldie.tasks.detection.mask_maps import Frame
from ldie.tasks.detection.masks import Masks, Size


class MaskPyramidGraph(MaskGraph):
    """From whole images of one size to objects with the probability maps of their masks.

    Args:
        model: The :class:`ldie.systems.mask_pyramid.MaskPyramid`, of which those levels are in the graph that it has
            grown so far.
        config: The model's.
        size: (H, W) of the images.
    """

    def __init__(self, model: Any, config: MaskPyramidConfig, size: Size) -> None:
        super().__init__(size, config.test.detections, config.test.update_threshold)
        self.model = model
        self.config = config
        self.stride = config.model.strides[self.model.levels - 1]
        self.input = WholeImageInput(size, config.input, "detectron2")
        height, width = (-(-side // self.stride) for side in self.input.filled)
        self.cells = height, width
        self.frame = Frame((height * self.stride, width * self.stride), self.input.target, size)
        self.inside: Tensor
        self.register_buffer("inside", torch.tensor([self.input.target]))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`DetectionGraph.forward`."""
        batch = images.shape[0]
        pyramid = self.model(self.input(images), self.inside.expand(batch, -1))
        own = scored(pyramid.levels[-1].hypotheses, pyramid.opinion, self.stride, self.config)
        found = [in_slots(self._objects(own, image), self.slots) for image in range(batch)]
        return tuple(torch.stack(field) for field in zip(*found))

    def _objects(self, own: Scored, image: int) -> tuple[Tensor, ...]:
        """Boxes, scores, labels and maps of one image, as :func:`find_objects` has it."""
        test = self.config.test
        ranking = ranked(own, image, self.config)
        maps = own.maps[image, ranking.rows]
        masks = mask_maps.draw(maps, None, self.frame, test.mask_threshold, packed=False, exclusive=test.paint)
        return with_boxes(masks, ranking, maps, test.min_pixels)

    def draw(self, masks: Tensor, boxes: Tensor) -> Masks:
        """See :meth:`DetectionGraph.draw`."""
        return draw_runs(masks, None, self.frame, self.config)
