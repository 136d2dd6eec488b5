# SPDX-License-Identifier: Apache-2.0
"""What a detection model computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from ldie.contract import Model
from ldie.tasks.detection.sample import Prediction


class DetectionModel(Model):
    """A model that finds objects in images."""

    @abstractmethod
    def predict(self, inputs: Sequence[Tensor]) -> list[Prediction]:
        """The objects in whole images, uint8 [3,H,W], RGB; their sizes may differ."""

    def heatmaps(self, images: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Maps [h,w] in 0..1 to overlay on each image's picture, by name; none by default."""
        return {}
