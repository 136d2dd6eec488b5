# SPDX-License-Identifier: Apache-2.0
"""How CenterNet learns: detection against a masked scale discriminator, in three phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ldie.config import OwnSchedule
from ldie.contract import Progress, Recipe, Runtime
from ldie.nn.precision import full_precision
from ldie.schedule import lr_factor
from ldie.systems.centernet.augment import ScaleCrops
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.gradient_penalty import gradient_penalty
from ldie.systems.centernet.inputs import network_input
from ldie.systems.centernet.losses import (
    adversarial_loss,
    detection_losses,
    reconstruction_loss,
    weighted_sum,
)
from ldie.systems.centernet.model import CenterNet
from ldie.systems.centernet.pretrained import load_imagenet_pretrained, load_pretrained
from ldie.systems.centernet.ranks import RankShares, rank_shares, weighted
from ldie.systems.centernet.targets import CellTargets, Crop, ScaleBatch, cell_targets, collate_crops
from ldie.tasks.detection import Sample

Phase = Literal["detector", "discriminator", "both"]
Side = Literal["detector", "discriminator"]


class CenterNetRecipe(Recipe):
    """Phase 1 trains extractors and detector alone, phase 2 the discriminator alone, phase 3 both in every step.

    Each learns on its own loss: extractors and detector on detection plus the adversarial term, the discriminator on
    its negative. Without a discriminator all steps are of phase 1.

    Several processes learn what one learns from all their images together (:mod:`ldie.systems.centernet.ranks`), with
    two exceptions: batch normalisation takes the statistics of each process's own images (unless
    ``solver.sync_batchnorm`` on GPUs), and each process draws the gradient penalty's points itself.
    Two optimizers on one graph and a detector that waits in one phase are nothing for DistributedDataParallel, so the
    gradients are averaged before the steps.
    """

    best_metric: ClassVar[str] = "bbox/AP"
    fixed_on_resume: ClassVar[tuple[str, ...]] = (
        "input",
        "solver.imagenet_pretrained",
        "solver.imagenet_pretrained_model",
        "solver.pretrained",
        "solver.pretrained_model",
    )

    def __init__(self, model: CenterNet, config: CenterNetConfig, runtime: Runtime) -> None:
        self.model: CenterNet = model
        self.config: CenterNetConfig = config
        self.runtime = runtime
        for network in self._fixed():
            network.requires_grad_(False)
        solver = config.solver
        learning = [*model.extractors.parameters(), *model.detector.parameters()]
        self._optimizers: dict[str, Optimizer] = {"detector": Adam(learning, solver.detector.lr)}
        if config.model.discriminator.type != "none":
            self._optimizers["discriminator"] = Adam(model.discriminator.parameters(), solver.discriminator.lr)
        self._crops = ScaleCrops(config)
        self._shares: list[RankShares] = []
        """Of the running step."""

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """See :attr:`Recipe.optimizers`: one for extractors and detector, one for the discriminator if there is one."""
        return self._optimizers

    def lr_factor(self, name: str, step: int) -> float:
        """See :meth:`Recipe.lr_factor`: what ``solver.detector`` and ``solver.discriminator`` say goes before."""
        solver = self.config.solver
        own: OwnSchedule = getattr(solver, name)
        return lr_factor(own.over(solver), step)

    def _fixed(self) -> list[nn.Module]:
        """The networks that do not learn."""
        solver = self.config.solver
        networks: list[nn.Module] = [self.model.detector] if solver.detector.weight_fix else []
        if solver.extractor.weight_fix and "0" in self.model.extractors:
            networks.append(self.model.extractors["0"])
        return networks

    def train_mode(self) -> None:
        """See :meth:`Recipe.train_mode`: what does not learn keeps its batch-norm statistics, too."""
        self.model.train()
        for network in self._fixed():
            network.eval()

    def compiled(self) -> list[nn.Module]:
        """See :meth:`Recipe.compiled`; not what the gradient penalty derives twice, which compiled networks cannot."""
        networks: list[nn.Module] = [*self.model.extractors.values(), self.model.detector]
        if "discriminator" in self._optimizers and not self.config.solver.discriminator.gp:
            networks.append(self.model.discriminator)
        return networks

    def load_pretrained(self) -> None:
        """See :meth:`Recipe.load_pretrained`; where both files are given, the second wins."""
        solver, model = self.config.solver, self.model
        if solver.imagenet_pretrained:
            load_imagenet_pretrained(model.extractors, Path(solver.imagenet_pretrained_model))
        if solver.pretrained:
            load_pretrained(model.extractors, model.detector, Path(solver.pretrained_model))

    def transform(self, sample: Sample, rng: Generator) -> list[Crop]:
        """See :meth:`Recipe.transform`: a random crop for every scale."""
        return self._crops(sample, rng)

    def collate(self, items: Sequence[Sequence[Crop]]) -> list[ScaleBatch]:
        """See :meth:`Recipe.collate`: one batch per scale."""
        return collate_crops(items)

    def phase(self, step: int) -> Phase:
        """What the step after ``step`` steps trains."""
        solver = self.config.solver
        if step < solver.detector.init_train_iter or "discriminator" not in self._optimizers:
            return "detector"
        if step < solver.detector.init_train_iter + solver.discriminator.init_train_iter:
            return "discriminator"
        return "both"

    def train_step(self, batch: Sequence[ScaleBatch], step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        phase = self.phase(step)
        images = [network_input(scale.images, self.config.input) for scale in batch]
        with torch.set_grad_enabled(phase != "discriminator"), self.runtime.autocast():
            features = self.model.extract(images)
        targets = self._targets(batch, features)
        self._shares = rank_shares(targets, (features.shape[2], features.shape[3]), self.config, self.runtime)
        terms: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        if phase != "discriminator":
            losses["detector"] = self._detection_loss(features, images, targets, terms)
        if phase != "detector":
            with self.runtime.autocast():
                scores = self.model.scores(features)
            losses["discriminator"] = self._discriminator_loss(features, scores, targets, terms)
        if phase == "both":
            losses["detector"] = losses["detector"] + self._adversarial_loss(scores, targets, "detector", terms)
        self._update(losses)
        if phase == "detector" and "discriminator" in self._optimizers and self._is_logged(step):
            losses["discriminator"] = self._untrained_loss(features, targets, terms)
        names = {"detector": "total_loss", "discriminator": "total_adv_loss"}
        terms |= {names[side]: loss for side, loss in losses.items()}
        return {name: value.detach() for name, value in terms.items()}

    def _is_logged(self, step: int) -> bool:
        """Whether a log line follows the step after ``step`` steps."""
        interval = self.config.solver.log_step
        return interval > 0 and (step + 1) % interval == 0

    @torch.no_grad()
    def _untrained_loss(self, features: Tensor, targets: Sequence[CellTargets], terms: dict[str, Tensor]) -> Tensor:
        """The discriminator's loss while it waits, to log it as the published code does; nothing of it changes."""
        discriminator = self.model.discriminator
        discriminator.eval()  # spectral norms move on in training mode
        with self.runtime.autocast():
            scores = self.model.scores(features)
        discriminator.train()
        return self._adversarial_loss(scores, targets, "discriminator", terms)

    def _targets(self, batch: Sequence[ScaleBatch], features: Tensor) -> list[CellTargets]:
        model, size = self.config.model, (features.shape[2], features.shape[3])
        limit = self.config.solver.data.max_objects
        return [
            cell_targets(scale, model.down_ratios[index], size, limit) for index, scale in zip(model.valid_scale, batch)
        ]

    def _detection_loss(
        self,
        features: Tensor,
        images: Sequence[Tensor],
        targets: Sequence[CellTargets],
        terms: dict[str, Tensor],
    ) -> Tensor:
        """Mean over the scales of the weighted detection terms, which are added to ``terms``."""
        model, solver = self.config.model, self.config.solver.detector
        count = len(model.valid_scale)
        with self.runtime.autocast():
            maps = self.model.detector(features)
        total = []
        parts = zip(*(m.chunk(count) for m in maps))
        for scale, target, share, outputs, part, image in zip(
            model.valid_scale, targets, self._shares, parts, features.chunk(count), images
        ):
            losses = share.detection(detection_losses(Maps(*outputs), target, solver))
            if model.detector.image_input:
                losses["recon_loss"] = reconstruction_loss(part, image)
            terms |= {f"{name}:{scale}": loss for name, loss in losses.items()}
            total.append(weighted_sum(losses, solver))
        return torch.stack(total).mean()

    def _adversarial_loss(
        self, scores: Tensor, targets: Sequence[CellTargets], side: Side, terms: dict[str, Tensor]
    ) -> Tensor:
        """Weighted mean over the scales of one side's adversarial terms, which are added to ``terms``."""
        scales = self.config.model.valid_scale
        losses = [
            weighted(adversarial_loss(part, scale, target, self.config, side), share.cells)
            for part, scale, target, share in zip(scores.chunk(len(scales)), scales, targets, self._shares)
        ]
        name = {"detector": "det_adv_loss", "discriminator": "dis_adv_loss"}[side]
        terms |= {f"{name}:{scale}": loss for scale, loss in zip(scales, losses)}
        return getattr(self.config.solver, side).adv_loss_weight * torch.stack(losses).mean()

    def _discriminator_loss(
        self, features: Tensor, scores: Tensor, targets: Sequence[CellTargets], terms: dict[str, Tensor]
    ) -> Tensor:
        """The adversarial loss, and the weighted gradient penalty where it is on; terms are added to ``terms``."""
        loss = self._adversarial_loss(scores, targets, "discriminator", terms)
        solver = self.config.solver.discriminator
        if solver.gp:
            scales = full_precision(features).chunk(
                len(self.config.model.valid_scale)
            )  # slopes of slopes need the precision
            terms["gradient_penalty"] = gradient_penalty(self.model.scores, scales)
            loss = loss + solver.gp_weight * terms["gradient_penalty"]
        return loss

    def _update(self, losses: Mapping[str, Tensor]) -> None:
        """Each optimizer steps on its own loss only; all gradients are taken before the first step."""
        for index, (name, loss) in enumerate(losses.items(), start=1):
            self.runtime.gradients(self._optimizers[name], loss, retain_graph=index < len(losses))
        for name in losses:
            self.runtime.apply(self._optimizers[name], getattr(self.config.solver, name).gradient_clip)

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """See :meth:`Recipe.log_line`; a loss that the phase does not have counts as 0."""
        eta = timedelta(seconds=int(progress.eta_seconds))
        return (
            f"===> Iter: {progress.step:07d}, LR: {progress.lr['detector']:.06f}, Cost: {progress.seconds:.02f}s, "
            f"Eta: {eta}, Detector Loss: {means.get('total_loss', 0.0):.6f}, "
            f"Discriminator Loss: {means.get('total_adv_loss', 0.0):.6f}"
        )
