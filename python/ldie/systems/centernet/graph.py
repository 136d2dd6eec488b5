# SPDX-License-Identifier: Apache-2.0
"""CenterNet as one graph, for export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.decode import detections
from ldie.systems.centernet.detector import scale_maps
from ldie.systems.centernet.inputs import evaluation_image, evaluation_size, network_input
from ldie.tasks.detection.graph import DetectionGraph, FixedResize, in_slots
from ldie.tasks.detection.masks import Size


class CenterNetGraph(DetectionGraph):
    """From whole images of one size to the detections of all scales.

    Args:
        extractors: The model's, by scale in use.
        detector: The model's.
        config: The model's.
        size: (H, W) of the images.
    """

    def __init__(self, extractors: nn.ModuleDict, detector: nn.Module, config: CenterNetConfig, size: Size) -> None:
        super().__init__(size, config.test.max_objects)
        self.extractors = extractors
        self.detector = detector
        self.config = config
        sizes = {evaluation_size(size, scale, config) for scale in config.model.valid_scale}
        self.resizes = nn.ModuleDict({str(target): FixedResize(size, target) for target in sizes - {size}})

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`DetectionGraph.forward`."""
        config = self.config
        seen = [evaluation_image(images, scale, config, self._resize) for scale in config.model.valid_scale]
        inputs = [network_input(scale, config.input) for scale in seen]
        maps = scale_maps(self.extractors, self.detector, inputs)
        found = [in_slots(image, self.slots) for image in detections(maps, self.size, config)]
        boxes, scores, labels = (torch.stack(field) for field in zip(*found))
        return boxes, scores, labels

    def _resize(self, images: Tensor, size: Size) -> Tensor:
        return self.resizes[str(size)](images)
