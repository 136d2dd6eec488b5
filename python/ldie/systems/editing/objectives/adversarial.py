# SPDX-License-Identifier: Apache-2.0
"""Learning against a discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ldie.contract import Runtime
from ldie.nn.precision import full_precision
from ldie.systems.editing.batch import EditBatch
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.discriminator import Discriminator, Judgement
from ldie.systems.editing.episode import drawn, run_episode
from ldie.systems.editing.model import Editor
from ldie.systems.editing.objectives.objective import Objective
from ldie.systems.editing.perceptual import PerceptualLoss
from ldie.tasks.editing.replay import edited_batch

_BETAS = (0.5, 0.999)


class Adversarial(Objective):
    """The editor makes pictures that a discriminator, which learns in the same steps, takes for targets.

    With ``solver.training=adapt_gan`` the discriminator's loss on what is real is the mean of that on the target and
    that on what the known steps make of the source, which is the nearest that the operators come to a target made by
    other means; so "the operators could make this" is no sign of a false picture.

    Operators are drawn, and the gradient goes through the parameters of all steps and the pictures between them. Both
    sides take their gradients on one forward pass before either steps, with optimizers of their own beside the editor's
    of the supervised steps.
    """

    def __init__(self, model: Editor, config: EditorConfig, runtime: Runtime) -> None:
        super().__init__(model, config, runtime)
        if model.discriminator is None:
            raise ValueError("the model has no discriminator")
        self.discriminator: Discriminator = model.discriminator
        gan = config.solver.gan
        self._generator = Adam(model.editor_parameters(), gan.lr, _BETAS)
        self._critic = Adam(self.discriminator.parameters(), gan.lr, _BETAS)
        self._perceptual = PerceptualLoss(Path(gan.perceptual_weights)).to(runtime.device) if gan.perceptual else None

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See :attr:`Objective.optimizers`: the editor's in these steps, and the discriminator's."""
        return {"generator": self._generator, "discriminator": self._critic}

    def train_step(self, batch: EditBatch, editor: Optimizer) -> dict[str, Tensor]:
        """See :meth:`Objective.train_step`; ``editor`` learns in supervised steps only."""
        model, solver = self.model, self.config.solver
        source, target = batch.source.float() / 255, batch.target.float() / 255
        reals = [target, self._planned(source, target, batch)] if solver.training == "adapt_gan" else [target]
        with self.runtime.autocast():
            result = run_episode(model, source, batch.regions, model.read(batch.words), drawn(solver.explore)).result
            text = self.discriminator.read(batch.words)
            fake, *real = (self.discriminator(source, picture, text) for picture in (result, *reals))
        terms = self._editor_terms(fake, real[0], result, target, batch.regions)
        critic = self._critic_loss(fake, real, batch.regions)
        self.runtime.gradients(self._generator, torch.stack(list(terms.values())).sum(), retain_graph=True)
        self.runtime.gradients(self._critic, critic)
        for optimizer in (self._generator, self._critic):
            self.runtime.apply(optimizer, solver.gradient_clip)
        terms |= {"discriminator_loss": critic, "l1": (result - target).abs().mean()}
        return {name: term.detach() for name, term in terms.items()}

    def _planned(self, source: Tensor, target: Tensor, batch: EditBatch) -> Tensor:
        """What the known steps make of the sources; the targets where none are known."""
        with torch.no_grad():
            planned = edited_batch(source, self.model.codes[batch.tokens], batch.params, batch.regions)
        return torch.where(batch.counts[:, None, None, None] > 0, planned, target)

    def _editor_terms(
        self,
        fake: Sequence[Judgement],
        real: Sequence[Judgement],
        result: Tensor,
        target: Tensor,
        regions: Tensor | None,
    ) -> dict[str, Tensor]:
        """The editor's weighted losses."""
        gan = self.config.solver.gan
        terms = {"gan_loss": gan.weight * self._loss(fake, True, regions)}
        if gan.feature_matching:
            terms["matching_loss"] = gan.feature_matching * feature_distance(fake, real)
        if self._perceptual is not None:
            with self.runtime.autocast():
                terms["perceptual_loss"] = gan.perceptual * self._perceptual(result, target)
        return terms

    def _critic_loss(
        self, fake: Sequence[Judgement], reals: Sequence[Sequence[Judgement]], regions: Tensor | None
    ) -> Tensor:
        """The discriminator's loss: half of it for what is false, half for what is real."""
        real = torch.stack([self._loss(each, True, regions) for each in reals]).mean()
        return 0.5 * (self._loss(fake, False, regions) + real)

    def _loss(self, judged: Sequence[Judgement], real: bool, regions: Tensor | None) -> Tensor:
        gan = self.config.solver.gan
        return score_loss(judged, real, gan.loss, regions if gan.masked else None)


def score_loss(
    judged: Sequence[Judgement], real: bool, kind: Literal["lsgan", "vanilla"], regions: Tensor | None = None
) -> Tensor:
    r"""How far scores are from saying "real" or "false", added up over the scales.

    With t = 1 for real and 0 for false, ``lsgan`` is the mean of :math:`(s - t)^2` over patches (Mao et al.,
    arXiv:1611.04076, equation 2 with a = 0, b = c = 1, without the factor 1/2), ``vanilla`` that of the cross entropy
    of :math:`\sigma(s)` and t (Goodfellow et al., arXiv:1406.2661; the editor's is the one that does not saturate).

    Args:
        judged: By scale.
        real: What they should say.
        kind: Of the loss.
        regions: bool [B, H, W]: only patches with their place in a picture's region count; each picture counts the
            same, one with an empty region is 0. None: all patches.
    """
    losses = []
    for judgement in judged:
        scores = full_precision(judgement.scores)
        if kind == "lsgan":
            values = (scores - float(real)).square()
        else:
            values = nn.functional.softplus(-scores if real else scores)
        losses.append(values.mean() if regions is None else _mean_inside(values, regions))
    return torch.stack(losses).sum()


def _mean_inside(values: Tensor, regions: Tensor) -> Tensor:
    """The mean over pictures of the mean of [B, 1, h, w] over the cells that a region [B, H, W] touches."""
    inside = nn.functional.adaptive_max_pool2d(regions[:, None].to(values), values.shape[2:])
    return ((values * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)).mean()


def feature_distance(fake: Sequence[Judgement], real: Sequence[Judgement]) -> Tensor:
    r"""Feature matching (arXiv:1711.11585, equation 4): how far the discriminator's features of two pictures are apart.

    .. math:: \frac{1}{S} \frac{4}{N + 1} \sum_{s,l} \text{mean} |f_{s,l}(x) - f_{s,l}(y)|

    with S scales and N convolutions of stride 2, all layers but the scores. No gradient goes into the real ones.
    """
    strided = len(fake[0].features) - 2
    distances = [
        (full_precision(found) - full_precision(wanted).detach()).abs().mean()
        for mine, theirs in zip(fake, real, strict=True)
        for found, wanted in zip(mine.features, theirs.features, strict=True)
    ]
    return 4 / (strided + 1) / len(fake) * torch.stack(distances).sum()
