# SPDX-License-Identifier: Apache-2.0
"""How Mask and Keypoint R-CNN learns: all at once, or in phases of its parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ldie.contract import Progress, Runtime
from ldie.systems.rcnn.batch import Batch, collate, training_images
from ldie.systems.rcnn.config import PARTS, LossConfig, RCNNConfig
from ldie.systems.rcnn.model import RCNN
from ldie.systems.rcnn.phases import Phase, phase_at, read_phases
from ldie.systems.rcnn.pretrained import SPELLINGS
from ldie.systems.rcnn.training import Losses
from ldie.tasks.detection import CocoDataset, Sample
from ldie.tasks.detection.requirements import require
from ldie.tasks.detection.whole_image_recipe import WholeImageRecipe, make_optimizer

logger = logging.getLogger("ldie")
WEIGHT_OF = {
    "rpn_cls_loss": "objectness",
    "rpn_loc_loss": "proposal_box",
    "cls_loss": "classes",
    "loc_loss": "box",
    "mask_loss": "mask",
    "keypoint_loss": "keypoint",
}
"""The key of each loss's weight in ``solver.loss``."""
LOGGED = {"rpn_cls_loss": "Pro cls", "rpn_loc_loss": "Pro loc", "cls_loss": "Det cls", "loc_loss": "Det loc"}
LOGGED_AFTER = {"mask_loss": "Mask", "keypoint_loss": "Keypoint"}
"""What the log line calls them; the latter where they are."""


class RCNNRecipe(WholeImageRecipe):
    """One loss over all that learns, one optimizer.

    Several processes learn what one learns from all their images together, if batches have the same size in pixels.
    Batch normalisation is the exception: each process takes the statistics of its own images (unless
    ``solver.sync_batchnorm`` on GPUs). Runs of one phase train under DistributedDataParallel; where the parts that
    learn change, gradients are averaged before the steps, as it cannot change its parameters.

    With ``solver.accumulate`` the losses of the proposals are those of one large batch: every image has the same weight
    in them. Those of the heads are means over regions, of objects and with keypoints, of one batch at a time.
    """

    best_metric: ClassVar[str] = "bbox/AP"
    name: ClassVar[str] = "rcnn"
    spellings = SPELLINGS

    def __init__(self, model: RCNN, config: RCNNConfig, runtime: Runtime) -> None:
        self.model: RCNN = model
        self.config: RCNNConfig = config
        self.runtime = runtime
        self.phases = read_phases(config.solver)
        self._learnable = {part: [p for p in getattr(model, part).parameters() if p.requires_grad] for part in PARTS}
        self.optimizer = make_optimizer([p for part in PARTS for p in self._learnable[part]], config.solver)
        for number, phase in enumerate(self.phases):
            if number and phase.start >= config.solver.max_iter:
                logger.warning(
                    "solver.phases[%d] would begin after step %d, but solver.max_iter=%d ends the run; raise that",
                    number, phase.start, config.solver.max_iter,
                )  # fmt: skip
        self._phase: Phase = self.phases[0]
        self._enter(self._phase)
        losses = Losses(model, runtime)
        self._losses: nn.Module = runtime.replicate(losses) if len(self.phases) == 1 else losses
        self.images = training_images(config, model.facts)

    def check_data(self, dataset: CocoDataset) -> None:
        """See :meth:`Recipe.check_data`: objects, with masks and keypoints where there are heads for them."""
        model = self.config.model
        require(
            dataset,
            masks="model.mask_head.enabled=false" if model.mask_head.enabled else None,
            keypoints="model.keypoint_head.enabled=false" if model.keypoint_head.enabled else None,
        )

    def lr_factor(self, name: str, step: int) -> float:
        """See :meth:`Recipe.lr_factor`: the phase's."""
        return phase_at(self.phases, step).lr_factor(step)

    def train_mode(self) -> None:
        """See :meth:`Recipe.train_mode`: parts that do not learn in this phase keep their statistics."""
        self.model.train()
        for part in PARTS:
            if part not in self._phase.train:
                network: nn.Module = getattr(self.model, part)
                network.eval()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        for part, weights in self._learnable.items():
            for weight in weights:
                weight.requires_grad_(part in phase.train)
        self.train_mode()

    def compiled(self) -> list[nn.Module]:
        """See :meth:`Recipe.compiled`: all networks, without the ops between them."""
        return [self.model.backbone, self.model.proposal_generator.rpn_head, *self.model.roi_heads.children()]

    def collate(self, items: Sequence[Sample]) -> Batch:
        """See :meth:`Recipe.collate`."""
        return collate(items, self.config.input.multiple)

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        phase = phase_at(self.phases, step)
        if phase is not self._phase:
            self._enter(phase)
        with self.runtime.autocast():
            losses: dict[str, Tensor] = self._losses(batch, step, phase)
        total = weighted_sum(losses, self.config.solver.loss)
        self.runtime.update(self.optimizer, total, self.config.solver.gradient_clip)
        return {name: value.detach() for name, value in {**losses, "total_loss": total}.items()}

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """See :meth:`Recipe.log_line`.

        As the published exercise has it: losses are sums over the interval, and one that the phase does not have counts
        as 0. Masks, keypoints and the learning rate come after that.
        """
        batch = self.config.solver.batch_size * self.config.solver.accumulate * self.runtime.world_size
        steps = progress.samples / batch
        losses, more = (
            "".join(f"{name} : {means.get(key, 0.0) * steps:f} \t/  " for key, name in names.items())
            for names in (LOGGED, {key: name for key, name in LOGGED_AFTER.items() if key in means})
        )
        return (
            f"Epoch: {int(progress.epoch):d} /  Iter : {progress.step:d} /  {losses}Time : {progress.seconds:f} /  "
            f"{more}LR : {progress.lr['rcnn']:.3g}"
        )


def weighted_sum(losses: Mapping[str, Tensor], config: LossConfig) -> Tensor:
    """The sum of all losses, each times its weight."""
    weights = {name: getattr(config, key) for name, key in WEIGHT_OF.items()}
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
