# SPDX-License-Identifier: Apache-2.0
"""Which operators a request asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ldie.contract import Facts
from ldie.stages import stage
from ldie.systems.edit_classifier.config import ClassifierConfig
from ldie.tasks.editing.model import EditingModel
from ldie.tasks.editing.reading import heard, image_encoder, language_encoder, padded, previews, shown
from ldie.tasks.editing.sample import EditInput, EditPrediction
from ldie.tasks.editing.words.vocabulary import Vocabulary


class EditClassifier(EditingModel):
    """Reads a request, looks at the picture, and says of each label how likely it holds; any number of them may.

    ``sigmoid(W2 relu(W1 [language; image]))``, from the last hidden states of a bidirectional LSTM and the code of a
    preview. On the published data the picture is no help (AUC .9153 with it, .9182 without), so it can be left out.

    Args:
        config: Networks and training.
        facts: Of :class:`ldie.tasks.editing.judges.labels.LabellingTask`.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, config: ClassifierConfig, facts: Facts) -> None:
        super().__init__()
        config.check()
        self.config: ClassifierConfig = config
        self.facts = facts
        model, language = config.model, config.model.language
        self.labels = tuple(facts["labels"])
        self.vocabulary = Vocabulary(facts["vocabulary"])
        self.language = language_encoder(language, self.vocabulary)
        self.images = image_encoder(model.image)
        width = 2 * language.hidden + (model.image.code if model.image.enabled else 0)
        self.choice = nn.Sequential(
            nn.Dropout(language.dropout),
            nn.Linear(width, model.hidden),
            nn.ReLU(),
            nn.Linear(model.hidden, len(self.labels)),
        )

    @classmethod
    def from_config(cls, config: ClassifierConfig, facts: Facts) -> EditClassifier:
        """See :meth:`ldie.contract.Model.from_config`."""
        return cls(config, facts)

    def forward(self, images: Tensor, words: Tensor, regions: Tensor | None = None) -> Tensor:
        """Logits [B, labels].

        Args:
            images: float [B, 3, H, W], RGB in [0, 1], previews.
            words: int64 [B, W], as the vocabulary numbers them, padded by 0.
            regions: bool [B, H, W], where the requests act; None: everywhere.
        """
        codes = [self.language(heard(words, self.config.model.language)).hidden[-1]]
        if self.images is not None:
            codes.append(self.images(images, shown(images, regions)))
        logits: Tensor = self.choice(torch.cat(codes, 1))
        return logits

    def predict(self, inputs: Sequence[EditInput]) -> list[EditPrediction]:
        """The probability of each label."""
        model = self.config.model
        sentences = [self.vocabulary.encode(item.request, model.language.max_words) for item in inputs]
        images, regions = previews(inputs, model.image.size)
        words = padded([sentence.ids for sentence in sentences]).to(self.device)
        with stage("networks"):
            regions = None if regions is None else regions.to(self.device)
            scores = self(images.to(self.device).float() / 255, words, regions).float().sigmoid().cpu()
        return [
            EditPrediction(words=sentence.words, operator_scores=row, labels=self.labels)
            for sentence, row in zip(sentences, scores, strict=True)
        ]
