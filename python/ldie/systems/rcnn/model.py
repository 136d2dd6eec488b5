# SPDX-License-Identifier: Apache-2.0
"""Mask and Keypoint R-CNN: the networks, and objects from images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

import ldie_ext
from ldie.contract import Facts
from ldie.nn.backbone import build_backbone
from ldie.nn.precision import full_precision
from ldie.stages import stage
from ldie.systems.rcnn.config import RCNNConfig
from ldie.systems.rcnn.graph import RCNNGraph
from ldie.systems.rcnn.heads import RoIHeads
from ldie.systems.rcnn.postprocess import Found, draw_masks, image_keypoints, own_class, select_objects
from ldie.systems.rcnn.proposals import Outlook, ProposalGenerator
from ldie.tasks.detection import DetectionModel, Prediction
from ldie.tasks.detection.batches import grouped
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.whole_images import evaluation_image


class RCNN(DetectionModel):
    """A backbone with a feature pyramid, proposals, and heads for each of them, named as detectron2's.

    Args:
        config: Networks and post-processing; the numbers of classes and keypoints are those of the facts.
        facts: Of the detection task.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, config: RCNNConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: RCNNConfig = config
        self.facts = facts
        self.backbone = build_backbone(config.model.backbone)
        self.proposal_generator = ProposalGenerator(config.model)
        self.roi_heads = RoIHeads(config.model.backbone.pyramid_channel, config.model)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: RCNNConfig, facts: Facts) -> RCNN:
        """See :meth:`ldie.contract.Model.from_config`."""
        keypoints = len(facts["keypoints"]) or config.model.num_keypoints
        model = dataclasses.replace(config.model, num_classes=len(facts["classes"]), num_keypoints=keypoints)
        return cls(dataclasses.replace(config, model=model), facts)

    def pool(self, maps: Sequence[Tensor], boxes: Tensor, offsets: Tensor, size: int) -> Tensor:
        """Features [R,C,size,size] of regions; the coarsest map is for proposals only."""
        model = self.config.model
        torchvision = model.convention == "torchvision"
        ratio = model.sampling_ratio
        return ldie_ext.multiscale_roi_align(
            maps[:-1],
            boxes,
            offsets,
            size,
            [1 / stride for stride in model.backbone.strides[:-1]],
            (2 if torchvision else 0) if ratio is None else ratio,
            not torchvision,
            canonical_scale=model.canonical_scale,
            levels=model.convention,
        )

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Found, Tensor | None, Tensor | None]:
        """Objects in normalised images [B,3,H,W] of ``sizes`` int64 [B,2], their masks' and keypoints' logits."""
        maps = self.backbone(images)
        outlook = self.proposal_generator(maps, (images.shape[2], images.shape[3]))
        proposals, counts = self.proposal_generator.propose(outlook, sizes, training=False)
        found = self.locate(maps, proposals, counts, sizes)
        return found, *self.describe(maps, found.boxes, found.offsets)

    def locate(self, maps: Sequence[Tensor], proposals: Tensor, counts: Tensor, sizes: Tensor) -> Found:
        """Objects from proposals [B,P,4], of which there are ``counts`` int64 [B]."""
        model, heads = self.config.model, self.roi_heads
        places = torch.arange(proposals.shape[0] + 1, device=counts.device) * proposals.shape[1]
        pooled = self.pool(maps, proposals.flatten(0, 1), places, model.box_head.pool)
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        return select_objects(
            full_precision(logits), full_precision(deltas), proposals, counts, sizes, model.box_head, self.config.test
        )

    def describe(self, maps: Sequence[Tensor], boxes: Tensor, offsets: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Logits of the masks and keypoints of objects with these boxes, as in :class:`Found`."""
        model, heads, masks, keypoints = self.config.model, self.roi_heads, None, None
        if heads.mask_head is not None:
            masks = heads.mask_head(self.pool(maps, boxes, offsets, model.mask_head.pool))
        if heads.keypoint_head is not None:
            keypoints = heads.keypoint_head(self.pool(maps, boxes, offsets, model.keypoint_head.pool))
        return masks, keypoints

    def graph(self, size: Size | None) -> RCNNGraph:
        """See :meth:`DetectionModel.graph`; of squares with the configured side by default."""
        side = self.config.input.shorter_side
        return RCNNGraph(self, self.config, size or (side, side))

    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        """See :meth:`DetectionModel.predict`; images that fill a batch alike go through the networks together."""
        options = self.config.input
        with stage("input"):
            images = [evaluation_image(image.cpu(), options, self.config.model.convention) for image in inputs]
        results: dict[int, Prediction] = {}
        for rows, batch, sizes in grouped(images, options.multiple):
            files = [(inputs[row].shape[1], inputs[row].shape[2]) for row in rows]
            results |= zip(rows, self._predict(batch.to(self.device), sizes.to(self.device), files))
        return [results[index] for index in range(len(inputs))]

    def _predict(self, images: Tensor, sizes: Tensor, files: Sequence[tuple[int, int]]) -> list[Prediction]:
        with stage("backbone"):
            maps = self.backbone(images)
        with stage("proposals"):
            outlook: Outlook = self.proposal_generator(maps, (images.shape[2], images.shape[3]))
            proposals, counts = self.proposal_generator.propose(outlook, sizes, training=False)
        with stage("heads"):
            found = self.locate(maps, proposals, counts, sizes)
            masks, keypoints = self.describe(maps, found.boxes, found.offsets)
        ratios = torch.tensor(files, device=sizes.device).flip(1) / sizes.flip(1)
        ends, numbers = found.offsets.tolist(), counts.tolist()
        with stage("results"):
            return [
                self._prediction(
                    found, masks, keypoints, slice(*ends[b : b + 2]), proposals[b, : numbers[b]], ratios[b], file
                )
                for b, file in enumerate(files)
            ]

    def _prediction(
        self,
        found: Found,
        masks: Tensor | None,
        keypoints: Tensor | None,
        rows: slice,
        proposals: Tensor,
        ratio: Tensor,
        size: tuple[int, int],
    ) -> Prediction:
        """One image's objects in pixels of its file."""
        test, convention = self.config.test, self.config.model.convention
        inside, labels = found.boxes[rows], found.labels[rows]
        boxes = inside * ratio.repeat(2)
        drawn = points = None
        if masks is not None:
            probabilities = own_class(full_precision(masks[rows]), labels)
            drawn = draw_masks(probabilities, boxes, size, test, convention)
        if keypoints is not None:
            points = image_keypoints(full_precision(keypoints[rows]), inside, ratio, test, convention).cpu()
        return Prediction(
            boxes=boxes.cpu(),
            scores=found.scores[rows].cpu(),
            labels=labels.cpu(),
            masks=drawn,
            keypoints=points,
            size=size,
            proposals=(proposals * ratio.repeat(2)).float().cpu(),
        )
