# SPDX-License-Identifier: Apache-2.0
"""What an editing model computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ldie.contract import Model
from ldie.tasks.editing.sample import EditInput, EditPrediction
from ldie.tasks.editing.words.vocabulary import Vocabulary
from ldie_ext import EditOp


class EditingModel(Model):
    """A model that answers requests to edit pictures, or judges answers."""

    @abstractmethod
    def predict(self, inputs: Sequence[EditInput]) -> list[EditPrediction]:
        """What it makes of each picture and request; pictures' sizes may differ."""


class StepModel(EditingModel):
    """A model that decides steps: its predictions have some, or an empty sequence."""

    operators: tuple[EditOp, ...]
    """What it chooses from."""
    vocabulary: Vocabulary
    """Words that it knows."""

    @property
    @abstractmethod
    def max_words(self) -> int:
        """Of a request that it reads; the rest is cut."""

    @property
    @abstractmethod
    def preview_size(self) -> int:
        """Pixels along each side of what it sees of a picture."""
