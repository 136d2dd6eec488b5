# SPDX-License-Identifier: Apache-2.0
"""How the classifier of requests learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ldie.contract import Recipe, Runtime
from ldie.errors import DataError
from ldie.systems.edit_classifier.config import ClassifierConfig
from ldie.systems.edit_classifier.model import EditClassifier
from ldie.tasks.editing.dataset import check_requests, labels_of
from ldie.tasks.editing.metrics.request_metrics import asked_for
from ldie.tasks.editing.reading import check_batch, load_word_vectors, padded, preview, small_region, stacked_regions
from ldie.tasks.editing.sample import EditSample


@dataclass(frozen=True)
class LabelItem:
    """One request to learn from."""

    source: Tensor
    """uint8 [3, S, S]."""
    region: Tensor | None
    """bool [S, S]."""
    words: Tensor
    """int64 [W]."""
    labels: Tensor
    """float32 [labels], 1 where the request asks for the operator."""


@dataclass(frozen=True)
class LabelBatch:
    """B requests; see :class:`LabelItem`."""

    sources: Tensor
    regions: Tensor | None
    words: Tensor
    labels: Tensor


class ClassifierRecipe(Recipe):
    """Binary cross entropy, the mean over requests and labels, by Adam."""

    best_metric: ClassVar[str] = "classifier/auc"
    fixed_on_resume: ClassVar[tuple[str, ...]] = ("model.language.glove",)

    def __init__(self, model: EditClassifier, config: ClassifierConfig, runtime: Runtime) -> None:
        check_batch(config.solver.batch_size, model)
        self.model: EditClassifier = model
        self.config: ClassifierConfig = config
        self.runtime = runtime
        self._optimizer = Adam([p for p in model.parameters() if p.requires_grad], config.solver.lr)
        self._network = runtime.replicate(model)

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See :attr:`Recipe.optimizers`."""
        return {"classifier": self._optimizer}

    def check_data(self, dataset: Any) -> None:
        """See :meth:`Recipe.check_data`."""
        check_requests(dataset)
        if not labels_of(dataset):
            raise DataError(f"{dataset.origin}: says of no request what it asks for; give data with operators or plans")

    def load_pretrained(self) -> None:
        """See :meth:`Recipe.load_pretrained`: word vectors."""
        load_word_vectors(self.model.language, self.config.model.language, self.model.vocabulary)

    def transform(self, sample: EditSample, rng: Generator) -> LabelItem:
        """See :meth:`Recipe.transform`; nothing is random."""
        model, asked = self.config.model, asked_for(sample)
        return LabelItem(
            preview(sample.source, model.image.size),
            small_region(sample.region, model.image.size),
            self.model.vocabulary.encode(sample.request, model.language.max_words).ids,
            torch.tensor([float(name in asked) for name in self.model.labels]),
        )

    def collate(self, items: Sequence[LabelItem]) -> LabelBatch:
        """See :meth:`Recipe.collate`."""
        return LabelBatch(
            torch.stack([item.source for item in items]),
            stacked_regions([item.region for item in items], items[0].source.shape[1:]),
            padded([item.words for item in items]),
            torch.stack([item.labels for item in items]),
        )

    def train_step(self, batch: LabelBatch, step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        with self.runtime.autocast():
            logits = self._network(batch.sources.float() / 255, batch.words, batch.regions)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), batch.labels)
        self.runtime.update(self._optimizer, loss, self.config.solver.gradient_clip)
        return {"label_loss": loss.detach()}
