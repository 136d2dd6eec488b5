# SPDX-License-Identifier: Apache-2.0
"""The mask pyramid: the networks, and objects from images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from ldie.contract import Facts
from ldie.nn.backbone import build_backbone
from ldie.stages import stage
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.features import Features, idle
from ldie.systems.mask_pyramid.graph import MaskPyramidGraph
from ldie.systems.mask_pyramid.growth import Growth, Level
from ldie.systems.mask_pyramid.pictures import SHOWN, Grown, draw_growth, growth_sheet
from ldie.systems.mask_pyramid.postprocess import Scored, find_objects, scored
from ldie.systems.mask_pyramid.score import Opinion, ScoreHead
from ldie.systems.mask_pyramid.truth import Truth
from ldie.tasks.detection import DetectionModel, Prediction
from ldie.tasks.detection.batches import grouped
from ldie.tasks.detection.mask_maps import Frame
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.whole_images import evaluation_image


class Pyramid(NamedTuple):
    """Of B images."""

    levels: list[Level]
    """The coarsest first."""
    opinion: Opinion
    """Of the hypotheses of the last one."""


class MaskPyramid(DetectionModel):
    """A backbone, a pyramid of masks that grows level by level, and a head that says what they are of.

    Args:
        config: Networks and post-processing; the number of classes is that of the facts.
        facts: Of the detection task.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, config: MaskPyramidConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: MaskPyramidConfig = config
        self.facts = facts
        self.backbone = build_backbone(config.model.backbone)
        self.features = Features(config.model)
        for name in idle(config.model):
            self.backbone.get_submodule(name).requires_grad_(False)
        self.growth = Growth(config)
        self.score = ScoreHead(config.model)
        self.levels = config.solver.stage.levels or len(config.model.strides)
        self.grown: Tensor
        self.register_buffer("grown", torch.tensor(self.levels))
        self.register_load_state_dict_post_hook(lambda module, _: module.remember())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: MaskPyramidConfig, facts: Facts) -> MaskPyramid:
        """See :meth:`ldie.contract.Model.from_config`."""
        model = dataclasses.replace(config.model, num_classes=len(facts["classes"]))
        return cls(dataclasses.replace(config, model=model), facts)

    def grow(self) -> None:
        """One level more."""
        self.grown += 1
        self.remember()

    def train(self, mode: bool = True) -> MaskPyramid:
        """Also when weights were copied into it one by one."""
        self.remember()
        return super().train(mode)

    def remember(self) -> None:
        """Reads from the weights how many levels grow, so that no forward waits for the device."""
        self.levels = int(self.grown)

    def forward(self, images: Tensor, sizes: Tensor, truth: Truth | None = None) -> Pyramid:
        """Normalised images [B,3,H,W] with sizes int64 [B,2] inside of them."""
        features = self.maps(images)
        levels = self.growth(features, sizes, truth)
        return Pyramid(levels, self.score(features[-1], levels[-1].hypotheses))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Features of the levels that grow."""
        return self.features(self.backbone(images))[: self.levels]

    def graph(self, size: Size | None) -> MaskPyramidGraph:
        """See :meth:`DetectionModel.graph`; of squares with the configured side by default."""
        side = self.config.input.shorter_side
        return MaskPyramidGraph(self, self.config, size or (side, side))

    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        """See :meth:`DetectionModel.predict`; images that fill a batch alike grow together."""
        options = self.config.input
        with stage("input"):
            images = [evaluation_image(image.cpu(), options, "detectron2") for image in inputs]
        results: dict[int, Prediction] = {}
        for rows, batch, sizes in grouped(images, options.multiple):
            with stage("backbone"):
                features = self.maps(batch.to(self.device))
            with stage("growth"):
                last = self.growth(features, sizes.to(self.device))[-1].hypotheses
            with stage("scores"):
                stride = self.config.model.strides[self.levels - 1]
                own = scored(last, self.score(features[-1], last), stride, self.config)
            for place, (row, inside) in enumerate(zip(rows, sizes.tolist())):
                frame = _frame(own, stride, inside, inputs[row])
                results[row] = find_objects(own, place, frame, self.config)
        return [results[index] for index in range(len(inputs))]

    def pictures(self, images: Sequence[Tensor]) -> dict[str, Image]:
        """See :meth:`DetectionModel.pictures`: how the pyramids of the first images grew."""
        names = self.facts["classes"]
        rows = [draw_growth(self._grown(image), self.config, names) for image in images[:SHOWN]]
        return {"pyramid": growth_sheet(rows)} if rows else {}

    def _grown(self, image: Tensor) -> Grown:
        """What becomes of one image."""
        options = self.config.input
        ((_, batch, sizes),) = grouped([evaluation_image(image.cpu(), options, "detectron2")], options.multiple)
        levels, opinion = self(batch.to(self.device), sizes.to(self.device))
        stride = self.config.model.strides[self.levels - 1]
        own = scored(levels[-1].hypotheses, opinion, stride, self.config)
        return Grown(image, levels, own, _frame(own, stride, sizes[0].tolist(), image))


def _frame(own: Scored, stride: int, inside: Sequence[int], image: Tensor) -> Frame:
    """Of maps of a stride that cover at least an image resized to (h, w) ``inside``, and its own pixels [3,H,W]."""
    height, width = own.maps.shape[2:]
    return Frame((height * stride, width * stride), (inside[0], inside[1]), (image.shape[1], image.shape[2]))
