# SPDX-License-Identifier: Apache-2.0
"""CenterNet over three scales, trained against a masked scale discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ldie.data import Prediction, Sample
from ldie.engine.system import Progress, System
from ldie.systems.centernet.augment import ScaleCrops
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.decode import decode_maps, merge_scales, rescale_boxes
from ldie.systems.centernet.detector import Detector, Maps
from ldie.systems.centernet.discriminator import build_discriminator
from ldie.systems.centernet.extractor import Extractor
from ldie.systems.centernet.gradient_penalty import gradient_penalty
from ldie.systems.centernet.inputs import evaluation_image, evaluation_size, network_input
from ldie.systems.centernet.losses import adversarial_loss, detection_losses, reconstruction_loss, weighted_sum
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.pretrained import load_imagenet_pretrained, load_pretrained
from ldie.systems.centernet.targets import CellTargets, Crop, ScaleBatch, cell_targets, collate_crops

Phase = Literal["detector", "discriminator", "both"]
Side = Literal["detector", "discriminator"]


class CenterNet(System):
    """Scale-specific extractors, one detector and one discriminator, trained in three phases.

    Phase 1 trains extractors and detector alone, phase 2 the discriminator alone, phase 3 both in every step, each on
    its own loss: extractors and detector on detection plus the adversarial term, the discriminator on its negative.

    Args:
        config: Networks, loss weights, phases, post-processing.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    presets: ClassVar[Mapping[str, CenterNetConfig]] = PRESETS

    def __init__(self, config: CenterNetConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        model = config.model
        width, image = model.detector.input_channel, model.detector.image_input
        self.extractors = nn.ModuleDict(
            {
                str(scale): Extractor(model.extractor, model.down_ratios[scale], width, image)
                for scale in model.valid_scale
            }
        )
        self.detector = Detector(model.detector, model.feature_channel, model.num_classes)
        self.discriminator = build_discriminator(model.discriminator, model.feature_channel, len(model.down_ratios))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for network in self._fixed():
            network.requires_grad_(False)
        solver = config.solver
        self._optimizers: dict[str, Optimizer] = {
            "detector": Adam([*self.extractors.parameters(), *self.detector.parameters()], solver.detector.lr),
            "discriminator": Adam(self.discriminator.parameters(), solver.discriminator.lr),
        }

    @classmethod
    def from_config(cls, config: CenterNetConfig) -> CenterNet:
        """See :meth:`System.from_config`."""
        return cls(config)

    def _fixed(self) -> list[nn.Module]:
        """The networks that do not learn."""
        solver = self.config.solver
        networks: list[nn.Module] = [self.detector] if solver.detector.weight_fix else []
        if solver.extractor.weight_fix and "0" in self.extractors:
            networks.append(self.extractors["0"])
        return networks

    def train(self, mode: bool = True) -> CenterNet:
        """Training mode, but for the networks that do not learn: theirs would change batch-norm statistics."""
        super().train(mode)
        for network in self._fixed():
            network.eval()
        return self

    def load_pretrained(self) -> None:
        """See :meth:`System.load_pretrained`; where both files are given, the second wins."""
        solver = self.config.solver
        if solver.imagenet_pretrained:
            load_imagenet_pretrained(self.extractors, Path(solver.imagenet_pretrained_model))
        if solver.pretrained:
            load_pretrained(self.extractors, self.detector, Path(solver.pretrained_model))

    def optimizers(self) -> dict[str, Optimizer]:
        """See :meth:`System.optimizers`: one for extractors and detector, one for the discriminator."""
        return self._optimizers

    def train_transform(self) -> ScaleCrops:
        """See :meth:`System.train_transform`: a random crop for every scale."""
        return ScaleCrops(self.config)

    def collate(self, items: Sequence[Sequence[Crop]]) -> list[ScaleBatch]:
        """See :meth:`System.collate`: one batch per scale."""
        return collate_crops(items)

    def phase(self, step: int) -> Phase:
        """What the step after ``step`` steps trains."""
        solver = self.config.solver
        if step < solver.detector.init_train_iter:
            return "detector"
        if step < solver.detector.init_train_iter + solver.discriminator.init_train_iter:
            return "discriminator"
        return "both"

    def train_step(self, batch: Sequence[ScaleBatch], step: int) -> dict[str, Tensor]:
        """See :meth:`System.train_step`."""
        phase = self.phase(step)
        images = [network_input(scale.images, self.config.input) for scale in batch]
        with torch.set_grad_enabled(phase != "discriminator"), self.runtime.autocast():
            features = self._extract(images)
        targets = self._targets(batch, features)
        terms: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        if phase != "discriminator":
            losses["detector"] = self._detection_loss(features, images, targets, terms)
        if phase != "detector":
            with self.runtime.autocast():
                scores = self._scores(features)
            losses["discriminator"] = self._discriminator_loss(features, scores, targets, terms)
        if phase == "both":
            losses["detector"] = losses["detector"] + self._adversarial_loss(scores, targets, "detector", terms)
        self._update(losses)
        names = {"detector": "total_loss", "discriminator": "total_adv_loss"}
        terms |= {names[side]: loss for side, loss in losses.items()}
        return {name: value.detach() for name, value in terms.items()}

    def _extract(self, images: Sequence[Tensor]) -> Tensor:
        """Features of all scales, one after the other along the batch: shared networks then run once."""
        return torch.cat([extractor(scale) for extractor, scale in zip(self.extractors.values(), images)])

    def _scores(self, features: Tensor) -> Tensor:
        """What the discriminator says about the feature channels that it looks at."""
        return self.discriminator(features[:, : self.config.model.discriminator.input_channel])

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
            maps = self.detector(features)
        total = []
        parts = zip(*(m.chunk(count) for m in maps))
        for scale, target, outputs, part, image in zip(
            model.valid_scale, targets, parts, features.chunk(count), images
        ):
            losses = detection_losses(Maps(*outputs), target, solver)
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
            adversarial_loss(part, scale, target, self.config, side)
            for part, scale, target in zip(scores.chunk(len(scales)), scales, targets)
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
            scales = features.float().chunk(len(self.config.model.valid_scale))  # slopes of slopes need the precision
            terms["gradient_penalty"] = gradient_penalty(self._scores, scales)
            loss = loss + solver.gp_weight * terms["gradient_penalty"]
        return loss

    def _update(self, losses: Mapping[str, Tensor]) -> None:
        """Each optimizer steps on its own loss only; all gradients are taken before the first step."""
        for index, (name, loss) in enumerate(losses.items(), start=1):
            self.runtime.gradients(self._optimizers[name], loss, retain_graph=index < len(losses))
        for name in losses:
            self.runtime.apply(self._optimizers[name], getattr(self.config.solver, name).gradient_clip)

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """See :meth:`System.predict`; every scale sees the whole image."""
        return [self._predict_one(sample) for sample in samples]

    def heatmaps(self, samples: Sequence[Sample]) -> dict[str, list[Tensor]]:
        """See :meth:`System.heatmaps`: by scale, the largest centre score over the classes."""
        return {
            f"heatmap_scale_{scale}": [self._heatmap(sample, scale) for sample in samples]
            for scale in self.config.model.valid_scale
        }

    def _heatmap(self, sample: Sample, scale: int) -> Tensor:
        maps = self._maps(evaluation_image(sample, scale, self.config), scale)
        return maps.heatmap[0].float().sigmoid().amax(0).cpu()

    def _maps(self, image: Tensor, scale: int) -> Maps:
        """The detector's maps of one image [3,H,W] at one scale."""
        images = network_input(image[None].to(self.runtime.device), self.config.input)
        return self.detector(self.extractors[str(scale)](images))

    def _predict_one(self, sample: Sample) -> Prediction:
        scales = []
        size = (sample.image.shape[1], sample.image.shape[2])
        for scale in self.config.model.valid_scale:
            image = evaluation_image(sample, scale, self.config)
            found = decode_maps(self._maps(image, scale), self.config.model.down_ratios[scale])[0]
            boxes = rescale_boxes(found.boxes, evaluation_size(size, scale, self.config), sample.size)
            scales.append(found._replace(boxes=boxes))
        found = merge_scales(scales, self.config.test)
        return Prediction(
            image_id=sample.image_id,
            boxes=found.boxes.cpu(),
            scores=found.scores.cpu(),
            labels=found.labels.cpu(),
            masks=None,
            keypoints=None,
            size=sample.size,
        )

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """See :meth:`System.log_line`; a loss that the phase does not have counts as 0."""
        eta = timedelta(seconds=int(progress.eta_seconds))
        return (
            f"===> Iter: {progress.step:07d}, LR: {progress.lr['detector']:.06f}, Cost: {progress.seconds:.02f}s, "
            f"Eta: {eta}, Detector Loss: {means.get('total_loss', 0.0):.6f}, "
            f"Discriminator Loss: {means.get('total_adv_loss', 0.0):.6f}"
        )
