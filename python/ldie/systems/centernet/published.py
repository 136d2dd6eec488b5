# SPDX-License-Identifier: Apache-2.0
"""The published weights of CenterNet (arXiv:1904.07850, ctdet) under their names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ldie.contract import Facts
from ldie.tasks.detection.coco_classes import COCO_CLASSES, coco_facts, numbered_facts
from ldie.weights.names import NameTable
from ldie.weights.published import Published

_NAMES = NameTable(
    {
        "conv1.weight": "extractors.0.conv1.weight",
        "bn1.*": "extractors.0.bn1.*",
        "layer<n>.<b>.conv1.weight": "detector.stages.<n-1>.<b>.first.0.weight",
        "layer<n>.<b>.bn1.*": "detector.stages.<n-1>.<b>.first.1.*",
        "layer<n>.<b>.conv2.weight": "detector.stages.<n-1>.<b>.second.0.weight",
        "layer<n>.<b>.bn2.*": "detector.stages.<n-1>.<b>.second.1.*",
        "layer<n>.<b>.downsample.<i>.*": "detector.stages.<n-1>.<b>.shortcut.<i>.*",
        "deconv_layers.<6u>.conv_offset_mask.*": "detector.ups.<u>.0.0.predict.*",
        "deconv_layers.<6u>.weight": "detector.ups.<u>.0.0.conv.weight",
        "deconv_layers.<6u>.bias": "detector.ups.<u>.0.0.conv.bias",
        "deconv_layers.<6u+1>.*": "detector.ups.<u>.0.1.*",
        "deconv_layers.<6u+3>.weight": "detector.ups.<u>.1.weight",
        "deconv_layers.<6u+4>.*": "detector.ups.<u>.2.*",
        "hm.<i>.*": "detector.heatmap.<i>.*",
        "wh.<i>.*": "detector.wh.<i>.*",
        "reg.<i>.*": "detector.offset.<i>.*",
    }
)
_BIAS, _MEAN = ".0.0.conv.bias", ".0.1.running_mean"


def _without_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A bias before a batch norm is the same as so much less in the mean that it subtracts."""
    result = dict(weights)
    for name, bias in weights.items():
        mean = result.get(name.removesuffix(_BIAS) + _MEAN)
        if name.endswith(_BIAS) and mean is not None and mean.shape == bias.shape:
            result[name.removesuffix(_BIAS) + _MEAN] = mean - bias
            del result[name]
    return result


def _facts(weights: Mapping[str, Tensor]) -> Facts:
    """COCO's for its 80 classes; of others only their number is known."""
    count = weights["hm.2.bias"].numel() if "hm.2.bias" in weights else 0
    return coco_facts() if count in (0, len(COCO_CLASSES)) else numbered_facts(count)


RESDCN18 = Published(_NAMES, _facts, _without_biases)
