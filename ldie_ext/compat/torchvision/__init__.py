"""torchvision.ops' names, defaults and results on this library's ops, and a switch for torchvision's own models.

Replace ``from torchvision.ops import nms`` by ``from ldie_ext.compat.torchvision import nms``: nothing else changes,
and torchvision need not be installed. Names of torchvision.ops that are not replaced are forwarded to it. Modules,
``nms``, ``roi_align`` and ``deform_conv2d`` can be scripted by torch.jit; the other functions cannot.

``patch()`` makes torchvision itself use these ops, also where its models have bound them already and in models that
were built before; ``unpatch()`` restores it, and ``with patched():`` does both.
"""

from __future__ import annotations

from typing import Any

from ldie_ext.compat.torchvision._box_coder import BoxCoder
from ldie_ext.compat.torchvision._functions import (
    batched_nms,
    box_iou,
    complete_box_iou,
    deform_conv2d,
    distance_box_iou,
    generalized_box_iou,
    nms,
    roi_align,
    sigmoid_focal_loss,
)
from ldie_ext.compat.torchvision._matcher import Matcher
from ldie_ext.compat.torchvision._patch import patch, patched, unpatch
from ldie_ext.compat.torchvision._peer import module
from ldie_ext.nn import AnchorGenerator, DeformConv2d, MultiScaleRoIAlign, RoIAlign

__all__ = [
    "AnchorGenerator",
    "BoxCoder",
    "DeformConv2d",
    "Matcher",
    "MultiScaleRoIAlign",
    "RoIAlign",
    "batched_nms",
    "box_iou",
    "complete_box_iou",
    "deform_conv2d",
    "distance_box_iou",
    "generalized_box_iou",
    "nms",
    "patch",
    "patched",
    "roi_align",
    "sigmoid_focal_loss",
    "unpatch",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(module("torchvision.ops", f"{name} is not among the names that {__name__} replaces"), name)
    globals()[name] = value  # found at once the next time
    return value
