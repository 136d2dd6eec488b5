# SPDX-License-Identifier: Apache-2.0
"""How the mask pyramid learns: all levels at once, or one after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ldie.contract import Progress, Runtime
from ldie.nn.spellings import SPELLINGS
from ldie.systems.mask_pyramid.config import MaskPyramidConfig
from ldie.systems.mask_pyramid.losses import Losses
from ldie.systems.mask_pyramid.model import MaskPyramid
from ldie.tasks.detection import CocoDataset, Sample
from ldie.tasks.detection.batches import Batch, collate
from ldie.tasks.detection.requirements import require
from ldie.tasks.detection.whole_image_recipe import WholeImageRecipe, learnable, make_optimizer
from ldie.tasks.detection.whole_images import WholeImages

logger = logging.getLogger("ldie")


class MaskPyramidRecipe(WholeImageRecipe):
    """One loss, one optimizer; on several processes under DistributedDataParallel.

    With ``solver.stage`` the coarsest levels learn first, and the next one follows when they are mature.
    """

    best_metric: ClassVar[str] = "segm/AP"
    name: ClassVar[str] = "mask_pyramid"
    spellings = SPELLINGS
    fixed_on_resume: ClassVar[tuple[str, ...]] = (*WholeImageRecipe.fixed_on_resume, "solver.stage.levels")

    def __init__(self, model: MaskPyramid, config: MaskPyramidConfig, runtime: Runtime) -> None:
        self.model: MaskPyramid = model
        self.config: MaskPyramidConfig = config
        self.runtime = runtime
        self.optimizer = make_optimizer(learnable(model), config.solver)
        self.images = WholeImages(config.solver.data, model.facts, masks=True, keypoints=False)
        self._losses = runtime.replicate(Losses(model, runtime))
        self._before = 0.0
        stage = config.solver.stage
        if 0 < stage.levels < self._all_levels and not stage.steps and not config.solver.eval_step:
            logger.warning(
                "solver.stage.levels=%d: no level follows these, as there are no evaluations to decide; set "
                "solver.eval_step or solver.stage.steps",
                stage.levels,
            )

    def check_data(self, dataset: CocoDataset) -> None:
        """See :meth:`Recipe.check_data`: objects with masks."""
        require(dataset, masks="another system, as the mask pyramid learns masks alone")

    def compiled(self) -> list[nn.Module]:
        """See :meth:`Recipe.compiled`: the networks before the pyramid."""
        return [self.model.backbone, self.model.features]

    def collate(self, items: Sequence[Sample]) -> Batch:
        """See :meth:`Recipe.collate`."""
        return collate(items, self.config.input.multiple)

    def load_pretrained(self) -> None:
        """See :meth:`Recipe.load_pretrained`; how many levels grow is this run's affair."""
        levels = self.model.grown.clone()
        super().load_pretrained()
        self.model.grown.copy_(levels)
        self.model.remember()

    def train_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        stage = self.config.solver.stage
        if stage.steps and stage.levels + step // stage.steps > self.model.levels < self._all_levels:
            self._add_level()
        with self.runtime.autocast():
            losses, counts = self._losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.runtime.update(self.optimizer, total, self.config.solver.gradient_clip)
        return {name: value.detach() for name, value in {"loss": total, **losses, **counts}.items()}

    def on_evaluation(self, metrics: Mapping[str, float]) -> None:
        """See :meth:`Recipe.on_evaluation`: a level more where the ones before have stopped to become better."""
        stage, now = self.config.solver.stage, metrics.get(self.best_metric, 0.0)
        if not stage.levels or stage.steps or self.model.levels == self._all_levels:
            return
        if now < self._before + stage.gain:
            self._add_level()
            now = 0.0
        self._before = now

    @property
    def _all_levels(self) -> int:
        return len(self.config.model.strides)

    def _add_level(self) -> None:
        self.model.grow()
        stride = self.config.model.strides[self.model.levels - 1]
        logger.info("level %d, of stride %d, begins to learn", self.model.levels - 1, stride)

    def resume_state(self) -> dict[str, Any]:
        """See :meth:`Recipe.resume_state`: the metric of the evaluation before."""
        return {"before": self._before}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """See :meth:`Recipe.load_resume_state`."""
        self._before = float(state["before"])

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """See :meth:`Recipe.log_line`: as maskrcnn-benchmark has it."""
        batch = self.config.solver.batch_size * self.config.solver.accumulate * self.runtime.world_size
        return log_line(progress, means, progress.samples / batch)


def log_line(progress: Progress, means: Mapping[str, float], steps: float) -> str:
    """A line of maskrcnn-benchmark: mean losses of the interval, seconds of one of its ``steps``, memory in MiB."""
    eta = timedelta(seconds=int(progress.eta_seconds))
    shown = "  ".join(f"{name}: {value:.4f}" for name, value in means.items())
    return (
        f"eta: {eta}  iter: {progress.step}  {shown}  time: {progress.seconds / steps:.4f}  "
        f"data: {progress.data_seconds / steps:.4f}  lr: {progress.lr['mask_pyramid']:.6f}  "
        f"max mem: {progress.memory // 2**20}"
    )
