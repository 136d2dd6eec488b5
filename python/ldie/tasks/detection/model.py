# SPDX-License-Identifier: Apache-2.0
"""What a detection model computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from PIL.Image import Image
from torch import Tensor

from ldie.contract import Model
from ldie.export.exportable import Exportable
from ldie.tasks.detection.graph import DetectionGraph, exportable
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.sample import Prediction


class DetectionModel(Model):
    """A model that finds objects in images."""

    @abstractmethod
    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        """The objects in whole images, uint8 [3,H,W], RGB; their sizes may differ."""

    def graph(self, size: Size | None) -> DetectionGraph | None:
        """What :meth:`predict` computes for images of one size, by default its own choice; None: it is no graph."""
        return None

    def exportable(self, size: Size | None, batch_size: int, inputs: Sequence[Tensor] = ()) -> Exportable:
        """See :meth:`ldie.contract.Model.exportable`."""
        graph = self.graph(size)
        if graph is None:
            return super().exportable(size, batch_size, inputs)
        return exportable(graph.eval(), self.predict, self.facts, batch_size, inputs)

    def pictures(self, images: Sequence[Tensor]) -> dict[str, Image]:
        """Sheets for people that show how it came to its results on these images, by name; none by default.

        Call it in eval mode and without gradients.
        """
        return {}
