# SPDX-License-Identifier: Apache-2.0
"""The published weights of SOLO: mmdetection's and its authors'."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ldie.contract import Facts
from ldie.tasks.detection.coco_classes import COCO_CLASSES, coco_facts, numbered_facts
from ldie.weights.published import Published
from ldie.weights.solo import MMDETECTION

_CATEGORIES = "head.conv_cls"
_CHANNEL = 256
"""That categories are computed from in all of these networks."""


def _facts(weights: Mapping[str, Tensor]) -> Facts:
    """COCO's for its 80 classes; of others only their number is known."""
    tensors = MMDETECTION.rename_all(weights)[0]
    weight, bias = (tensors.get(f"{_CATEGORIES}.{kind}") for kind in ("weight", "bias"))
    if weight is None or bias is None or weight.shape != (bias.numel(), _CHANNEL, 3, 3):
        return coco_facts()  # the comparison with the model will name what is wrong
    classes = max(bias.numel(), 1)
    return coco_facts() if classes == len(COCO_CLASSES) else numbered_facts(classes)


_SOLO = Published(MMDETECTION, _facts)
PUBLISHED: Mapping[str, Published] = {"r50_1x": _SOLO, "r50_3x": _SOLO}
"""By preset; the two are one network, trained for longer on more sizes."""
