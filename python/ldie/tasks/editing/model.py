# SPDX-License-Identifier: Apache-2.0
"""What an editing model computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ldie.contract import Model
from ldie.tasks.editing.sample import EditInput, EditPrediction


class EditingModel(Model):
    """A model that answers requests to edit pictures, or judges answers."""

    @abstractmethod
    def predict(self, inputs: Sequence[EditInput]) -> list[EditPrediction]:
        """What it makes of each picture and request; pictures' sizes may differ."""
