"""Methods of torchvision's detection models, on this library's ops.

Each takes the method that it stands in for first, and hands over to it what it does not know: subclasses with a rule
of their own, and types that torchvision computes in otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

import ldie_ext
from ldie_ext.compat.torchvision._box_coder import BoxCoder
from ldie_ext.nn import AnchorGenerator
from ldie_ext.ops.roi.roi_align import flatten_boxes

Method = Callable[..., Any]
EXACT = (torch.float32, torch.float64)  # dtypes that torchvision's box arithmetic neither rounds nor upcasts


def generate_anchors(original: Method, self: Any, image_list: Any, feature_maps: Sequence[Tensor]) -> list[Tensor]:
    """``AnchorGenerator.forward``: one launch, and none for a pyramid seen before."""
    dtype = feature_maps[0].dtype
    if not is_own(self, "torchvision.models.detection.anchor_utils", "AnchorGenerator") or dtype not in EXACT:
        return original(self, image_list, feature_maps)
    generator = AnchorGenerator(self.sizes, self.aspect_ratios)
    return [anchors.to(dtype) for anchors in generator(image_list, feature_maps)]


def pool_levels(
    original: Method, self: Any, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
) -> Tensor:
    """``MultiScaleRoIAlign.forward``: all levels and images in one launch."""
    features = [features for name, features in x.items() if name in self.featmap_names]
    count = _levels_in_use(self.map_levels, features)
    if count == 0 or any(level.dtype != features[0].dtype or level.is_quantized for level in features):
        return original(self, x, boxes, image_shapes)  # the first call also infers the scales
    flat, offsets = flatten_boxes(boxes)
    return ldie_ext.multiscale_roi_align(
        features[:count],
        flat,
        offsets,
        self.output_size,
        self.scales[:count],
        self.sampling_ratio,
        canonical_scale=self.map_levels.s0,
        canonical_level=self.map_levels.lvl0,
    )


def _levels_in_use(mapper: Any, features: list[Tensor]) -> int:
    """How many maps the mapper chooses from; 0 if it does not follow the op's rule.

    Fewer than there are maps when two have the same scale, as MobileNet's: torchvision then never reads the last.
    """
    if not is_own(mapper, "torchvision.ops.poolers", "LevelMapper") or mapper.eps != 1e-6:
        return 0
    count = mapper.k_max - mapper.k_min + 1
    return count if count <= len(features) else 0


def encode_single(_: Method, self: Any, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
    """``BoxCoder.encode_single``."""
    return BoxCoder.encode_single(self, reference_boxes, proposals)


def decode_single(_: Method, self: Any, rel_codes: Tensor, boxes: Tensor) -> Tensor:
    """``BoxCoder.decode_single``."""
    return BoxCoder.decode_single(self, rel_codes, boxes)


def is_own(value: Any, module: str, name: str) -> bool:
    """Whether a value is of torchvision's class of that name itself: a subclass may follow another rule."""
    return type(value) is getattr(import_module(module), name)
