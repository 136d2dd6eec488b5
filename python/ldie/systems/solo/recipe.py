# SPDX-License-Identifier: Apache-2.0
"""How SOLO learns: categories of places and masks of those that have an object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from torch import Tensor, nn

from ldie.contract import Progress, Runtime
from ldie.nn.spellings import SPELLINGS
from ldie.systems.solo.config import SOLOConfig, SOLOSolver
from ldie.systems.solo.losses import Losses
from ldie.systems.solo.model import SOLO
from ldie.tasks.detection import CocoDataset, Sample
from ldie.tasks.detection.batches import Batch, collate
from ldie.tasks.detection.requirements import require
from ldie.tasks.detection.whole_image_recipe import WholeImageRecipe, learnable, make_optimizer
from ldie.tasks.detection.whole_images import WholeImages

_EXACT = 1e-6
"""Of a quotient that is a whole number but for rounding."""


class SOLORecipe(WholeImageRecipe):
    """One loss, one optimizer; on several processes under DistributedDataParallel.

    With ``solver.accumulate`` both losses are means over the places of one batch at a time.
    """

    best_metric: ClassVar[str] = "segm/AP"
    name: ClassVar[str] = "solo"
    spellings = SPELLINGS

    def __init__(self, model: SOLO, config: SOLOConfig, runtime: Runtime) -> None:
        self.model: SOLO = model
        self.config: SOLOConfig = config
        self.runtime = runtime
        self.optimizer = make_optimizer(parameter_groups(model, config.solver), config.solver)
        self.images = WholeImages(config.solver.data, model.facts, masks=True, keypoints=False)
        self._losses = runtime.replicate(Losses(model, runtime))

    def check_data(self, dataset: CocoDataset) -> None:
        """See :meth:`Recipe.check_data`: objects with masks."""
        require(dataset, masks="another system, as SOLO learns masks alone")

    def compiled(self) -> list[nn.Module]:
        """See :meth:`Recipe.compiled`: all networks, without the ops between them."""
        return [self.model.backbone, self.model.levels, self.model.head]

    def collate(self, items: Sequence[Sample]) -> Batch:
        """See :meth:`Recipe.collate`."""
        return collate(items, self.config.input.multiple)

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        solver = self.config.solver
        with self.runtime.autocast():
            losses: dict[str, Tensor] = self._losses(batch)
        losses = {
            "loss_cls": solver.category_weight * losses["loss_cls"],
            "loss_mask": solver.mask_weight * losses["loss_mask"],
        }
        total = losses["loss_cls"] + losses["loss_mask"]
        self.runtime.update(self.optimizer, total, solver.gradient_clip)
        return {name: value.detach() for name, value in {**losses, "loss": total}.items()}

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """See :meth:`Recipe.log_line`: as mmdetection 1 has it."""
        batch = self.config.solver.batch_size * self.config.solver.accumulate * self.runtime.world_size
        return log_line(progress, means, progress.samples / batch, datetime.now())


def parameter_groups(model: nn.Module, solver: SOLOSolver) -> list[dict[str, Any]]:
    """All that learns, biases apart where they learn in another way."""
    if solver.optimizer == "adamw" or solver.sgd_style == "plain":
        return [{"params": learnable(model)}]
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    biases = [p for name, p in named if name.endswith(".bias")]
    others = [p for name, p in named if not name.endswith(".bias")]
    return [{"params": others}, {"params": biases, "lr": 2 * solver.lr, "weight_decay": 0.0}]


def log_line(progress: Progress, means: Mapping[str, float], steps: float, now: datetime) -> str:
    """A line of mmdetection 1: times in seconds of one of the ``steps`` of the interval, memory in MiB, mean losses.

    An epoch that is no whole number of steps has one more, as there; ours goes on in the middle of a step.
    """
    per_epoch = max(1, math.ceil(progress.step / progress.epoch - _EXACT))
    epoch = (progress.step - 1) // per_epoch
    eta = timedelta(seconds=int(progress.eta_seconds))
    losses = ", ".join(f"{name}: {value:.4f}" for name, value in means.items())
    return (
        f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d} - INFO - "
        f"Epoch [{epoch + 1}][{progress.step - epoch * per_epoch}/{per_epoch}]\t"
        f"lr: {progress.lr['solo']:.5f}, eta: {eta}, time: {progress.seconds / steps:.3f}, "
        f"data_time: {progress.data_seconds / steps:.3f}, memory: {progress.memory // 2**20}, {losses}"
    )
