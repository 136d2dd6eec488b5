# SPDX-License-Identifier: Apache-2.0
"""SOLO: the networks, and objects from images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ldie.contract import Facts
from ldie.nn.backbone import build_backbone
from ldie.stages import stage
from ldie.systems.solo.config import SOLOConfig
from ldie.systems.solo.graph import SOLOGraph
from ldie.systems.solo.head import Outlook, SOLOHead
from ldie.systems.solo.levels import Levels
from ldie.systems.solo.postprocess import find_objects
from ldie.tasks.detection import DetectionModel, Prediction
from ldie.tasks.detection.batches import grouped
from ldie.tasks.detection.mask_maps import Frame
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.whole_images import evaluation_image


class SOLO(DetectionModel):
    """A backbone with a feature pyramid and a head; no boxes but those of the masks it finds.

    Args:
        config: Networks and post-processing; the number of classes is that of the facts.
        facts: Of the detection task.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, config: SOLOConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: SOLOConfig = config
        self.facts = facts
        self.backbone = build_backbone(config.model.backbone)
        self.levels = Levels(config.model)
        self.head = SOLOHead(config.model)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: SOLOConfig, facts: Facts) -> SOLO:
        """See :meth:`ldie.contract.Model.from_config`."""
        model = dataclasses.replace(config.model, num_classes=len(facts["classes"]))
        return cls(dataclasses.replace(config, model=model), facts)

    def forward(self, images: Tensor) -> Outlook:
        """Normalised images [B,3,H,W], whose sides are multiples of ``input.multiple``."""
        result: Outlook = self.head(self.levels(self.backbone(images)))
        return result

    def graph(self, size: Size | None) -> SOLOGraph:
        """See :meth:`DetectionModel.graph`; of squares with the configured side by default."""
        side = self.config.input.shorter_side
        return SOLOGraph(self, self.config, size or (side, side))

    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        """See :meth:`DetectionModel.predict`; images that fill a batch alike go through the networks together."""
        options = self.config.input
        with stage("input"):
            images = [evaluation_image(image.cpu(), options, "detectron2") for image in inputs]
        results: dict[int, Prediction] = {}
        for rows, batch, sizes in grouped(images, options.multiple):
            with stage("networks"):
                outlook = self(batch.to(self.device))
            for place, (row, inside) in enumerate(zip(rows, sizes.tolist())):
                file = inputs[row].shape[1:]
                frame = Frame((batch.shape[2], batch.shape[3]), (inside[0], inside[1]), (file[0], file[1]))
                results[row] = find_objects(self.head, outlook, place, frame, self.config)
        return [results[index] for index in range(len(inputs))]
