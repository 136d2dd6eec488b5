# SPDX-License-Identifier: Apache-2.0
"""One forward pass of training: from a batch to its losses, without a loop over images or regions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import ldie_ext
from ldie.contract import Runtime
from ldie.systems.rcnn.batch import Batch
from ldie.systems.rcnn.losses import box_losses, keypoint_loss, mask_loss, proposal_losses
from ldie.systems.rcnn.model import RCNN
from ldie.systems.rcnn.phases import Phase
from ldie.systems.rcnn.proposals import Outlook
from ldie.systems.rcnn.regions import Regions
from ldie.systems.rcnn.targets import anchor_targets, sample_regions, sampling_seeds
from ldie.tasks.detection.batches import network_input

_ANCHORS, _REGIONS = 0, 1
"""Draws of a step."""


class Losses(nn.Module):
    """The losses of a model, unweighted, as a module that can be trained on several processes.

    Args:
        model: In training mode.
        runtime: Sums counts over the processes.
    """

    def __init__(self, model: RCNN, runtime: Runtime) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self._runtime = runtime

    def forward(self, batch: Batch, step: int, phase: Phase) -> dict[str, Tensor]:
        """Losses by name, those that the phase learns from."""
        model = self.model
        images = network_input(batch.images, batch.sizes, self.config.input)
        with torch.set_grad_enabled("backbone" in phase.train):
            maps = model.backbone(images.to(next(model.parameters()).dtype))
        with torch.set_grad_enabled(phase.learns_proposals):
            outlook = model.proposal_generator(maps, (images.shape[2], images.shape[3]))
        losses: dict[str, Tensor] = {}
        if phase.learns_proposals:
            losses |= self._proposals(outlook, batch, step)
        if phase.learns_objects:
            losses |= self._objects(maps, outlook, batch, step, phase)
        return losses

    def _proposals(self, outlook: Outlook, batch: Batch, step: int) -> dict[str, Tensor]:
        model = self.config.model
        seeds = sampling_seeds(batch.ids, self.config.seed, step, _ANCHORS)
        targets = anchor_targets(outlook.anchors, batch, model.proposals, model.convention, seeds)
        return proposal_losses(outlook, targets, self.config.solver.loss)

    def _objects(
        self, maps: Sequence[Tensor], outlook: Outlook, batch: Batch, step: int, phase: Phase
    ) -> dict[str, Tensor]:
        model, options = self.model, self.config.model
        proposals, counts = model.proposal_generator.propose(outlook, batch.sizes, training=True)
        seeds = sampling_seeds(batch.ids, self.config.seed, step, _REGIONS)
        head, classes = options.box_head, options.num_classes
        regions = sample_regions(proposals, counts, batch, head, options.convention, classes, seeds)
        norms = (head.normalization, options.mask_head.enabled and options.mask_head.normalization)
        statistics = "roi_heads" in phase.train and "batch" in norms
        regions = regions.compact(exact=statistics)
        objects = regions.foreground(classes, int(head.samples * head.positive_fraction), exact=statistics)
        targets = self._keypoint_targets(objects, batch)
        region_count, object_count, heatmap_count = self._counts(regions, objects, targets)
        logits, deltas = model.roi_heads.box_predictor(
            model.roi_heads.box_head(model.pool(maps, regions.boxes, regions.offsets, head.pool))
        )
        boxes = batch.padded_boxes[regions.rows].to(regions.boxes.dtype)
        encoded = ldie_ext.encode_boxes(boxes, regions.boxes, head.weights)
        losses = box_losses(logits, deltas, encoded, regions, self.config.solver.loss, region_count)
        if model.roi_heads.mask_head is not None and batch.masks is not None:
            pooled = model.pool(maps, objects.boxes, objects.offsets, options.mask_head.pool)
            masks = batch.masks.in_boxes(objects.boxes, objects.rows, 2 * options.mask_head.pool)
            losses["mask_loss"] = mask_loss(model.roi_heads.mask_head(pooled), masks, objects, object_count)
        if model.roi_heads.keypoint_head is not None and targets is not None:
            pooled = model.pool(maps, objects.boxes, objects.offsets, options.keypoint_head.pool)
            losses["keypoint_loss"] = keypoint_loss(model.roi_heads.keypoint_head(pooled), *targets, heatmap_count)
        return losses

    def _keypoint_targets(self, objects: Regions, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Target cells int64 [F,K] and whether there is one, bool [F,K]."""
        model = self.config.model
        if not model.keypoint_head.enabled or batch.keypoints is None:
            return None
        keypoints = torch.cat([batch.keypoints, batch.keypoints.new_zeros(1, *batch.keypoints.shape[1:])])
        own = keypoints[objects.rows]
        own[..., :2] += 0.5 if model.convention == "detectron2" else 0.0  # centre of the pixel that an index stands for
        cells = 4 * model.keypoint_head.pool
        index, valid = ldie_ext.keypoint_targets(own.to(objects.boxes.dtype), objects.boxes, (cells, cells))
        return index, valid & objects.used[:, None]

    def _counts(self, regions: Regions, objects: Regions, targets: tuple[Tensor, Tensor] | None) -> Tensor:
        """Float [3]: regions, those of objects, and heatmaps with a target, of a process on average; 1 at least."""
        valid = objects.used.new_zeros(1) if targets is None else targets[1]
        counts = torch.stack([regions.used.sum(), objects.used.sum(), valid.sum()]).double()
        processes = self._runtime.world_size
        mean = self._runtime.total(counts) / processes
        return mean.clamp(min=1 / processes).to(regions.boxes.dtype)
