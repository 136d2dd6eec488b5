# SPDX-License-Identifier: Apache-2.0
"""The network that all heads share."""

from __future__ import annotations

from ldie.nn import FeaturePyramid, ResNet, norm_layer
from ldie.systems.rcnn.config import BackboneConfig


def build_backbone(config: BackboneConfig) -> FeaturePyramid:
    """The feature pyramid of a configuration, its first parts frozen as that says."""
    resnet = ResNet(
        stem=config.stem,
        stem_channel=config.stem_channel,
        block=config.block,
        blocks=config.blocks,
        widths=config.widths,
        stride_in_1x1=config.stride_in_1x1,
        normalization=config.normalization,
        frozen_eps=config.frozen_eps,
    )
    resnet.freeze(config.freeze_at)
    return FeaturePyramid(resnet, config.pyramid_channel, norm_layer(config.pyramid_norm))
