# SPDX-License-Identifier: Apache-2.0
"""The discriminator: does a picture answer the request?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ldie.contract import Facts
from ldie.stages import stage
from ldie.systems.edit_discriminator.config import DiscriminatorConfig
from ldie.systems.edit_discriminator.networks import Comparison, PairEncoder, StepNames
from ldie.tasks.editing.model import EditingModel
from ldie.tasks.editing.reading import heard, language_encoder, padded, preview, previews, shown, small_region
from ldie.tasks.editing.sample import EditInput, EditPrediction, JudgedInput
from ldie.tasks.editing.words.vocabulary import Vocabulary
from ldie_ext import EditOp

Judge: TypeAlias = Callable[[Tensor], Tensor]
"""How well pictures float [B, 3, H, W] in [0, 1] answer one request for one source, [B] in [0, 1]; differentiable."""


class EditDiscriminator(EditingModel):
    """D(source, picture, request): how likely the picture is the source as somebody edits it who follows the request.

    It reads requests by an encoder of its own, as the one of a network that edits learns something else.

    Args:
        config: Networks and training.
        facts: Of the editing task.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, config: DiscriminatorConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: DiscriminatorConfig = config
        self.facts = facts
        model = config.model
        self.operators = tuple(EditOp[name] for name in facts["operators"])
        self.vocabulary = Vocabulary(facts["vocabulary"])
        self.language = language_encoder(model.language, self.vocabulary)
        self.pairs = PairEncoder(model.pair.widths, model.pair.code)
        self.comparison = Comparison(model.pair.code, 2 * model.language.hidden)
        self.done_steps = StepNames(model.pair.code, len(self.operators))
        self.asked_steps = StepNames(2 * model.language.hidden, len(self.operators))

    @classmethod
    def from_config(cls, config: DiscriminatorConfig, facts: Facts) -> EditDiscriminator:
        """See :meth:`ldie.contract.Model.from_config`."""
        return cls(config, facts)

    def read(self, words: Tensor) -> Tensor:
        """Codes [B, D] of requests int64 [B, W]."""
        return self.language(heard(words, self.config.model.language)).hidden[-1]

    def see(self, sources: Tensor, pictures: Tensor, regions: Tensor | None) -> Tensor:
        """Codes [B, E] of what was done to sources [B, 3, H, W] in [0, 1]; regions bool [B, H, W]."""
        code: Tensor = self.pairs(sources, pictures, shown(sources, regions))
        return code

    def forward(self, sources: Tensor, pictures: Tensor, words: Tensor, regions: Tensor | None = None) -> Tensor:
        """Logits [B]; above 0 the picture answers the request.

        Args:
            sources: float [B, 3, H, W], RGB in [0, 1], previews.
            pictures: The same of what is judged.
            words: int64 [B, W], as the vocabulary numbers them, padded by 0.
            regions: bool [B, H, W], where the requests act; None: everywhere.
        """
        logits: Tensor = self.comparison(self.see(sources, pictures, regions), self.read(words))
        return logits

    def judge(self, source: Tensor, request: str, region: Tensor | None = None) -> Judge:
        """What tells pictures of the size of a preview apart that are to answer one request.

        Args:
            source: uint8 [3, H, W], RGB.
            request: One sentence.
            region: bool [H, W], where it acts; None: everywhere.
        """
        size = self.config.model.pair.size
        small = preview(source, size).to(self.device).float() / 255
        where = small_region(region, size)
        place = None if where is None else where.to(self.device)
        ids = self.vocabulary.encode(request, self.config.model.language.max_words).ids
        with torch.no_grad():
            asked = self.read(ids[None].to(self.device))

        def realness(pictures: Tensor) -> Tensor:
            regions = None if place is None else place.expand(len(pictures), -1, -1)
            done = self.see(small.expand_as(pictures), pictures, regions)
            logits: Tensor = self.comparison(done, asked)
            return logits.sigmoid()

        return realness

    def predict(self, inputs: Sequence[EditInput]) -> list[EditPrediction]:
        """How well the picture of each :class:`JudgedInput` answers its request; of others nothing."""
        judged = [item for item in inputs if isinstance(item, JudgedInput)]
        scores = iter(self._realness(judged) if judged else ())
        return [
            EditPrediction(realness=next(scores)) if isinstance(i, JudgedInput) else EditPrediction() for i in inputs
        ]

    def _realness(self, inputs: Sequence[JudgedInput]) -> Tensor:
        model = self.config.model
        sentences = [self.vocabulary.encode(item.request, model.language.max_words).ids for item in inputs]
        sources, regions = previews(inputs, model.pair.size)
        pictures = torch.stack([preview(item.picture, model.pair.size) for item in inputs])
        with stage("networks"):
            before, after = (images.to(self.device).float() / 255 for images in (sources, pictures))
            regions = None if regions is None else regions.to(self.device)
            logits: Tensor = self(before, after, padded(sentences).to(self.device), regions)
            return logits.float().sigmoid().cpu()
