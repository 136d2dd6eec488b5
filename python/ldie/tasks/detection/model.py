# SPDX-License-Identifier: Apache-2.0
"""What a detection model computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

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

    def heatmaps(self, images: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Maps [h,w] in 0..1 to overlay on each image's picture, by name; none by default."""
        return {}
