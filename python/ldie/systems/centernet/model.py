# SPDX-License-Identifier: Apache-2.0
"""CenterNet over three image scales: networks, maps, detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor, nn

from ldie.contract import Facts
from ldie.stages import stage
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.decode import detections
from ldie.systems.centernet.detector import Detector, Maps, scale_maps
from ldie.systems.centernet.discriminator import build_discriminator
from ldie.systems.centernet.extractor import build_extractor
from ldie.systems.centernet.graph import CenterNetGraph
from ldie.systems.centernet.inputs import evaluation_corner, evaluation_image, evaluation_size, network_input
from ldie.tasks.detection import DetectionModel, Prediction
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.visualization import draw_heatmap, grid


class CenterNet(DetectionModel):
    """An extractor for each scale, one detector for all, and the discriminator that they are trained against.

    Args:
        config: Networks and post-processing; ``model.num_classes`` is that of the facts.
        facts: Of the detection task.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, config: CenterNetConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: CenterNetConfig = config
        self.facts = facts
        model = config.model
        width, image = model.detector.input_channel, model.detector.image_input
        self.extractors = nn.ModuleDict(
            {
                str(scale): build_extractor(model.extractor, model.down_ratios[scale], width, image)
                for scale in model.valid_scale
            }
        )
        self.detector = Detector(model.detector, model.feature_channel, model.num_classes)
        self.discriminator = build_discriminator(model.discriminator, model.feature_channel, len(model.down_ratios))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: CenterNetConfig, facts: Facts) -> CenterNet:
        """See :meth:`ldie.contract.Model.from_config`."""
        model = dataclasses.replace(config.model, num_classes=len(facts["classes"]))
        return cls(dataclasses.replace(config, model=model), facts)

    def extract(self, images: Sequence[Tensor]) -> Tensor:
        """Features of all scales, one after the other along the batch: shared networks then run once.

        Args:
            images: Network inputs by scale in use, [B,3,H_i,W_i], that all give feature maps of one size.
        """
        return torch.cat([extractor(scale) for extractor, scale in zip(self.extractors.values(), images)])

    def scores(self, features: Tensor) -> Tensor:
        """What the discriminator says about the feature channels that it looks at."""
        return self.discriminator(features[:, : self.config.model.discriminator.input_channel])

    def forward(self, images: Sequence[Tensor]) -> list[Maps]:
        """See :func:`ldie.systems.centernet.detector.scale_maps`."""
        return scale_maps(self.extractors, self.detector, images)

    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        """See :meth:`DetectionModel.predict`; every scale sees the whole image."""
        return [self._detect(image) for image in inputs]

    def pictures(self, images: Sequence[Tensor]) -> dict[str, Image]:
        """See :meth:`DetectionModel.pictures`: :meth:`heatmaps` over the images."""
        return {name: grid(list(map(draw_heatmap, images, maps))) for name, maps in self.heatmaps(images).items()}

    def heatmaps(self, images: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Maps [h,w] in 0..1 of each image, by scale: the largest centre score over the classes."""
        maps = [self._maps(image) for image in images]
        return {
            f"heatmap_scale_{scale}": [
                self._visible(scales[i].heatmap[0].float().sigmoid().amax(0).cpu(), image, scale)
                for scales, image in zip(maps, images)
            ]
            for i, scale in enumerate(self.config.model.valid_scale)
        }

    def graph(self, size: Size | None) -> CenterNetGraph:
        """See :meth:`DetectionModel.graph`; its own choice is the size of the largest crops in training."""
        height, width = self.config.solver.data.cells
        ratio = max(self.config.model.down_ratios[scale] for scale in self.config.model.valid_scale)
        size = size or (height * ratio, width * ratio)
        return CenterNetGraph(self.extractors, self.detector, self.config, size)

    def _visible(self, cells: Tensor, image: Tensor, scale: int) -> Tensor:
        """The part of a map [h,w] that shows the image, not only what it was padded with."""
        size, ratio = (image.shape[1], image.shape[2]), self.config.model.down_ratios[scale]
        ends = zip(evaluation_corner(size, scale, self.config), evaluation_size(size, scale, self.config))
        rows, columns = (slice(start // ratio, -(-(start + length) // ratio)) for start, length in ends)
        return cells[rows, columns]

    def _maps(self, image: Tensor) -> list[Maps]:
        """The maps of one whole image [3,H,W] by scale in use."""
        with stage("input"):
            seen = [evaluation_image(image.cpu(), scale, self.config) for scale in self.config.model.valid_scale]
            inputs = [network_input(scale[None].to(self.device), self.config.input) for scale in seen]
        with stage("networks"):
            return self(inputs)

    def _detect(self, image: Tensor) -> Prediction:
        size = (image.shape[1], image.shape[2])
        maps = self._maps(image)
        with stage("decode"):
            (found,) = detections(maps, size, self.config)
        with stage("results"):
            return Prediction(
                boxes=found.boxes.cpu(),
                scores=found.scores.cpu(),
                labels=found.labels.cpu(),
                masks=None,
                keypoints=None,
                size=size,
            )
