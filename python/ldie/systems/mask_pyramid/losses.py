# SPDX-License-Identifier: Apache-2.0
"""One forward pass of training: from a batch to its losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import ldie_ext
from ldie.contract import Runtime
from ldie.systems.mask_pyramid.config import MaskLoss, MaskPyramidConfig
from ldie.systems.mask_pyramid.growth import Level
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, at_places
from ldie.systems.mask_pyramid.model import MaskPyramid
from ldie.systems.mask_pyramid.truth import Truth, make_truth
from ldie.tasks.detection.batches import Batch, network_input


class Losses(nn.Module):
    """The losses of a model, weighted, as a module that can be trained on several processes.

    Args:
        model: In training mode.
        runtime: Sums counts over the processes.
    """

    def __init__(self, model: MaskPyramid, runtime: Runtime) -> None:
        super().__init__()
        self.model = model
        self.config: MaskPyramidConfig = model.config
        self._runtime = runtime

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses ``level_0``, ``level_1``, ..., ``class``, and what else is learnt; ``pyr_num_l0``, ...: how many live.

        A level's loss is a mean over its hypotheses, whose number changes from image to image; sums would weigh a level
        by it.
        """
        images = network_input(batch.images, batch.sizes, self.config.input)
        truth = make_truth(batch, self.config)
        levels, opinion = self.model(images, batch.sizes, truth)
        options = self.config.solver.loss
        losses: dict[str, Tensor] = {}
        for index, level in enumerate(levels):
            losses[f"level_{index}"] = self.config.loss_weight(index) * self._level(index, level.hypotheses, truth)
        last = levels[-1].hypotheses
        objects = self._objects(len(levels) - 1, last)
        losses["class"] = options.classes * self._class_loss(opinion.classes, last.seeds.alive, objects, truth)
        if opinion.overlaps is not None:
            losses["iou"] = options.iou * self._overlap_loss(
                opinion.overlaps, last, objects, truth.targets[len(levels) - 1]
            )
        if levels[0].guide is not None:
            losses["guide"] = options.guide * self._guide_loss(levels, truth)
        if levels[0].calls is not None:
            losses["births"] = options.births * self._birth_loss(levels, truth)
        losses["class"] = losses["class"] + unused(self.model, len(levels), losses["class"])
        counts = {
            f"pyr_num_l{index}": level.hypotheses.seeds.alive.sum(1).float().mean()
            for index, level in enumerate(levels)
        }
        counts["InstPyr_inst_count"] = (truth.objects >= 0).sum(1).float().mean()
        return losses, counts

    def _objects(self, index: int, hypotheses: Hypotheses) -> Tensor:
        """int64 [B,A]: what each hypothesis learns, -1 that there is nothing."""
        seeds, masks = hypotheses
        objects = seeds.objects
        assert objects is not None
        if self.config.solver.assign.supporters == "all":
            return objects
        root = at_places(masks.logits.detach(), seeds.places, self.config.model.strides[index])
        root = root.masked_fill(~seeds.alive, -torch.inf)
        slots = torch.arange(root.shape[1], device=root.device)
        better = (root[:, None] > root[:, :, None]) | ((root[:, None] == root[:, :, None]) & (slots < slots[:, None]))
        rival = (objects[:, None] == objects[:, :, None]) & seeds.alive[:, None]
        return objects.masked_fill((rival & better).any(2), -1)

    def _level(self, index: int, hypotheses: Hypotheses, truth: Truth) -> Tensor:
        """Mean over the hypotheses of what their masks differ from their objects by."""
        options, (seeds, masks) = self.config.solver.loss, hypotheses
        objects = self._objects(index, hypotheses)
        matched = (objects >= 0) & seeds.alive
        targets = _rows(truth.targets[index], objects)
        kinds = [mask_loss(kind, masks.logits, targets, matched, by_area=options.by_area) for kind in options.masks]
        each = torch.stack(kinds).sum(0)
        if options.root:
            root = at_places(masks.logits, seeds.places, self.config.model.strides[index])
            each = each + options.root * functional.binary_cross_entropy_with_logits(
                root, matched.float(), reduction="none"
            )
        loss = self._mean(each * matched.where(matched, options.unmatched).float(), seeds.alive)
        if options.missed:
            loss = loss + options.missed * self._missed_loss(index, hypotheses, truth)
        return loss

    def _mean(self, each: Tensor, used: Tensor) -> Tensor:
        """Over what is used of all processes' batches."""
        count = self._runtime.total(used.sum().double()).float() / self._runtime.world_size
        return each.where(used, 0.0).sum() / count.clamp(min=1 / self._runtime.world_size)

    def _missed_loss(self, index: int, hypotheses: Hypotheses, truth: Truth) -> Tensor:
        """Mean probability that hypotheses give the cells of objects that none of them learns."""
        seeds, masks = hypotheses
        missed = (truth.objects >= 0) & ~truth.supported(seeds)
        area = _rows(truth.targets[index], truth.objects.where(missed, -1)).sum(1).clamp(max=1)
        claimed = (masks.logits.sigmoid() * area[:, None]).sum((2, 3)) / area.sum((1, 2)).clamp(min=1)[:, None]
        return self._mean(claimed, seeds.alive)

    def _class_loss(self, logits: Tensor, alive: Tensor, objects: Tensor, truth: Truth) -> Tensor:
        """Cross entropy over classes and background."""
        labels = truth.labels_of(objects)
        labels = labels.where(labels >= 0, logits.shape[2] - 1)
        each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return self._mean(each.unflatten(0, alive.shape), alive)

    def _overlap_loss(self, logits: Tensor, hypotheses: Hypotheses, objects: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of the expected overlap of mask and object."""
        seeds, masks = hypotheses
        found, wanted = masks.logits.detach() > 0, _rows(targets, objects) >= 0.5
        both, either = (found & wanted).sum((2, 3)), (found | wanted).sum((2, 3))
        overlap = both / either.clamp(min=1)
        each = functional.binary_cross_entropy_with_logits(logits, overlap, reduction="none")
        return self._mean(each, seeds.alive & (objects >= 0))

    def _birth_loss(self, levels: Sequence[Level], truth: Truth) -> Tensor:
        """Cross entropy of where births are called for, sum over cells by objects without a hypothesis."""
        sums, count = [], []
        for index, level in enumerate(levels):
            if level.calls is not None:
                missed = truth.missed(level.hypotheses.seeds, index, self.config.solver.assign)
                wanted = truth.fullest(missed, index) if missed.numel() else torch.zeros_like(level.calls[:, 0])
                each = functional.binary_cross_entropy_with_logits(level.calls[:, 0], wanted.float(), reduction="sum")
                sums.append(each)
                count.append(wanted.sum().double())
        processes = self._runtime.world_size
        total = self._runtime.total(torch.stack(count).sum()).float() / processes
        return torch.stack(sums).sum() / total.clamp(min=1 / processes)

    def _guide_loss(self, levels: Sequence[Level], truth: Truth) -> Tensor:
        """Cross entropy of where objects of each class are, mean over cells, classes and levels."""
        sums = []
        for index, level in enumerate(levels):
            assert level.guide is not None
            wanted = _class_maps(truth, index, level.guide.shape[1])
            sums.append(functional.binary_cross_entropy_with_logits(level.guide, wanted))
        return torch.stack(sums).mean()


def _class_maps(truth: Truth, index: int, classes: int) -> Tensor:
    """float32 [B,K,h,w]: 1 where an object of the class covers the cell on a level."""
    covered = _rows(truth.covered[index], truth.objects).float()
    images = torch.arange(len(covered), device=covered.device)[:, None]
    rows = images * classes + truth.labels_of(truth.objects).clamp(min=0)
    maps = covered.new_zeros((len(covered) * classes, *covered.shape[2:]))
    return maps.index_add_(0, rows.flatten(), covered.flatten(0, 1)).clamp_(max=1).unflatten(0, (-1, classes))


def mask_loss(kind: MaskLoss, logits: Tensor, targets: Tensor, matched: Tensor, *, by_area: bool = False) -> Tensor:
    """[B,A]: between masks of logits [B,A,h,w] and targets in 0..1.

    Dice, which no area is in, is of those that have an object alone. The others are means over all cells, or with
    ``by_area`` sums divided by the object's area, at least one cell.
    """
    if kind == "dice":
        rows = [x.flatten(0, 1).flatten(1) for x in (logits, targets)]
        return ldie_ext.dice_loss(*rows, reduction="none").unflatten(0, matched.shape).where(matched, 0.0)
    if kind == "ce":
        each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    else:
        difference = logits.sigmoid() - targets
        each = difference.abs() if kind == "l1" else difference.square()
    if not by_area:
        return each.mean((2, 3))
    return each.sum((2, 3)) / targets.sum((2, 3)).clamp(min=1).where(matched, targets[0, 0].numel())


def _rows(maps: Tensor, rows: Tensor) -> Tensor:
    """[B,A,h,w]: maps [G,h,w] of rows int64 [B,A]; -1: of zeros."""
    return torch.cat([maps, maps.new_zeros((1, *maps.shape[1:]))])[rows]


def unused(model: MaskPyramid, levels: int, like: Tensor) -> Tensor:
    """0, of which all weights have a gradient of 0 where not all levels grow: other processes' may have others."""
    if levels == len(model.config.model.strides):
        return like.new_zeros(())
    return 0.0 * torch.stack([p.float().sum() for p in model.parameters() if p.requires_grad]).sum()
