# SPDX-License-Identifier: Apache-2.0
"""The editor: from a picture and a request to a sequence of edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ldie.contract import Facts
from ldie.export.exportable import Exportable
from ldie.nn.language import LanguageCode, LanguageEncoder
from ldie.stages import stage
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.decoder import Decoder
from ldie.systems.editing.discriminator import Discriminator
from ldie.systems.editing.episode import Episode, run_episode
from ldie.systems.editing.graph import exportable
from ldie.tasks.editing.model import StepModel
from ldie.tasks.editing.reading import heard, image_encoder, language_encoder, padded, previews, shown
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSequence
from ldie.tasks.editing.words.vocabulary import Vocabulary
from ldie_ext import EditOp


class Editor(StepModel):
    """Reads a request, looks at a small preview of the picture, and decides steps that any size of it can take.

    Args:
        config: Networks and training.
        facts: Of the editing task.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    codes: Tensor
    """int64 [1 + operators], the number in ``EditOp`` of each token."""

    def __init__(self, config: EditorConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: EditorConfig = config
        self.facts = facts
        model, language = config.model, config.model.language
        self.operators = tuple(EditOp[name] for name in facts["operators"])
        self.vocabulary = Vocabulary(facts["vocabulary"])
        self.register_buffer("codes", torch.tensor([EditOp.NONE, *self.operators]), persistent=False)
        self.language = language_encoder(language, self.vocabulary)
        self.images = image_encoder(model.image)
        self.decoder = Decoder(model, self.operators)
        self.discriminator = Discriminator(model, self.vocabulary) if model.discriminator.scales else None

    @classmethod
    def from_config(cls, config: EditorConfig, facts: Facts) -> Editor:
        """See :meth:`ldie.contract.Model.from_config`."""
        return cls(config, facts)

    @property
    def repeats(self) -> bool:
        """Whether a sequence may have an operator twice: where it has learned to take one again."""
        solver = self.config.solver
        return solver.training == "reinforce" and solver.reinforce.allow_repeats

    @property
    def max_words(self) -> int:
        """See :attr:`StepModel.max_words`."""
        return self.config.model.language.max_words

    @property
    def preview_size(self) -> int:
        """See :attr:`StepModel.preview_size`."""
        return self.config.model.image.size

    def editor_parameters(self) -> list[nn.Parameter]:
        """Those that decide edits."""
        networks = (self.language, self.images, self.decoder)
        return [parameter for network in networks if network is not None for parameter in network.parameters()]

    def language_encoders(self) -> list[LanguageEncoder]:
        """That of the editor, and that of the discriminator if there is one."""
        return [self.language, *([self.discriminator.language] if self.discriminator else [])]

    def read(self, words: Tensor) -> LanguageCode:
        """Requests int64 [B, W]."""
        return self.language(heard(words, self.config.model.language))

    def see(self, images: Tensor, regions: Tensor | None) -> Tensor | None:
        """Codes [B, D] of pictures [B, 3, H, W] in [0, 1]; None where the editor does not look at them."""
        return None if self.images is None else self.images(images, shown(images, regions))

    def parameters_of(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Parameters [N, 24] of each token's operator, from what the decoder has in mind [N, H]; zeros for END."""
        return self.decoder.parameters_of(hidden, tokens)

    def forward(self, images: Tensor, words: Tensor, regions: Tensor | None = None) -> Episode:
        """The likeliest steps.

        Args:
            images: float [B, 3, H, W], RGB in [0, 1], previews.
            words: int64 [B, W], as the vocabulary numbers them, padded by 0.
            regions: bool [B, H, W], where the steps act; None: everywhere.
        """
        return run_episode(self, images, regions, self.read(words), repeats=self.repeats)

    def predict(self, inputs: Sequence[EditInput]) -> list[EditPrediction]:
        """The steps for each picture and request; what they make of it is another matter, at any size."""
        sentences = [self.vocabulary.encode(item.request, self.max_words) for item in inputs]
        images, regions = previews(inputs, self.preview_size)
        words = padded([sentence.ids for sentence in sentences]).to(self.device)
        with stage("networks"):
            regions = None if regions is None else regions.to(self.device)
            episode = self(images.to(self.device).float() / 255, words, regions)
        hears = self.config.model.language.enabled
        return [_prediction(episode, row, sentence.words if hears else ()) for row, sentence in enumerate(sentences)]

    def exportable(self, size: tuple[int, int] | None, batch_size: int, inputs: Sequence[Any] = ()) -> Exportable:
        """See :meth:`ldie.contract.Model.exportable`."""
        return exportable(self, self.config.model.decoder.max_steps, size, batch_size, inputs)


def _prediction(episode: Episode, row: int, words: tuple[str, ...]) -> EditPrediction:
    ops = episode.ops[row].cpu()
    count = int((ops != EditOp.NONE).sum())
    steps = EditSequence(ops[:count], episode.params[row, :count].float().cpu())
    attention = None
    if episode.attention is not None and words:
        shown = episode.attention[row, :count, 1 : 1 + len(words)].float().cpu()  # the sentence's START and END not
        attention = shown / shown.sum(1, keepdim=True).clamp(min=1e-12)
    return EditPrediction(steps, words=words, attention=attention)
