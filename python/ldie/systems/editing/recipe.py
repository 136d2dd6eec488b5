# SPDX-License-Identifier: Apache-2.0
"""How the editor learns: from known steps, and by turns from its own episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.random import Generator
from torch import Tensor
from torch.optim import Adam, Optimizer

from ldie.contract import Recipe, Runtime
from ldie.errors import DataError
from ldie.schedule import lr_factor
from ldie.systems.editing.batch import EditBatch, EditItem, collate, learnable
from ldie.systems.editing.config import EditorConfig
from ldie.systems.editing.losses import supervised_losses
from ldie.systems.editing.model import Editor
from ldie.systems.editing.objectives import objective_of
from ldie.systems.editing.pretrained import load_pretrained
from ldie.tasks.editing.dataset import check_requests
from ldie.tasks.editing.reading import check_batch, load_word_vectors
from ldie.tasks.editing.sample import EditSample


class EditorRecipe(Recipe):
    """Steps that learn from known steps, and by turns those of the objective that ``solver.training`` names.

    What a step calls changes from one to the next, which DistributedDataParallel does not take: gradients of several
    processes are averaged before the optimizer's step. Batch normalisation sees each process's own pictures.
    """

    best_metric: ClassVar[str] = "actor/l1_gain"
    fixed_on_resume: ClassVar[tuple[str, ...]] = ("model.language.glove", "solver.pretrained", "solver.training")

    def __init__(self, model: Editor, config: EditorConfig, runtime: Runtime) -> None:
        check_batch(config.solver.batch_size, model)
        self.model: Editor = model
        self.config: EditorConfig = config
        self.runtime = runtime
        self._editor = Adam(model.editor_parameters(), config.solver.lr)
        self._objective = objective_of(model, config, runtime)

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See :attr:`Recipe.optimizers`: that of the editor, and those of its objective."""
        return {"editor": self._editor, **(self._objective.optimizers if self._objective else {})}

    def lr_factor(self, name: str, step: int) -> float:
        """See :meth:`Recipe.lr_factor`; the objective's optimizers have schedules of their own."""
        solver = self.config.solver
        own = solver.reinforce if solver.training == "reinforce" else solver.gan
        return lr_factor(solver if name == "editor" else own.over(solver), step)

    def check_data(self, dataset: Any) -> None:
        """See :meth:`Recipe.check_data`."""
        check_requests(dataset)
        if not dataset.operators:
            raise DataError(
                f"{dataset.origin}: has no steps to learn from; plan them first (docs/editing.md) and set dataset.plans"
            )

    def load_pretrained(self) -> None:
        """See :meth:`Recipe.load_pretrained`: word vectors, then an earlier model's weights."""
        for encoder in self.model.language_encoders():
            load_word_vectors(encoder, self.config.model.language, self.model.vocabulary)
        if self.config.solver.pretrained:
            load_pretrained(self.model, Path(self.config.solver.pretrained))

    def transform(self, sample: EditSample, rng: Generator) -> EditItem:
        """See :meth:`Recipe.transform`: a preview and the words; nothing is random."""
        model = self.config.model
        encoded = self.model.vocabulary.encode(sample.request, model.language.max_words)
        return learnable(sample, encoded.ids, model.image.size)

    def collate(self, items: Sequence[EditItem]) -> EditBatch:
        """See :meth:`Recipe.collate`."""
        return collate(items, self.model.operators)

    def train_step(self, batch: EditBatch, step: int) -> dict[str, Tensor]:
        """See :meth:`Recipe.train_step`."""
        if self._objective is not None and self._objective.is_due(step):
            return self._objective.train_step(batch, self._editor)
        solver = self.config.solver
        with self.runtime.autocast():
            losses = supervised_losses(self.model, batch, self.model.read(batch.words), self._share)
        loss = losses["operator_loss"] + solver.parameter_weight * losses["parameter_loss"]
        self.runtime.update(self._editor, loss, solver.gradient_clip)
        return {name: term.detach() for name, term in losses.items()}

    def _share(self, counts: Tensor) -> Tensor:
        """Means over the processes of what each has counted."""
        return self.runtime.total(counts) / self.runtime.world_size

    def resume_state(self) -> dict[str, Any]:
        """See :meth:`Recipe.resume_state`."""
        return self._objective.resume_state() if self._objective else {}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """See :meth:`Recipe.load_resume_state`."""
        if self._objective:
            self._objective.load_resume_state(state)
