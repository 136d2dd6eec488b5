# SPDX-License-Identifier: Apache-2.0
"""A residual network with a feature pyramid, as a configuration says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ldie.config import Count, Positive
from ldie.errors import ConfigError
from ldie.nn.feature_pyramid import FeaturePyramid
from ldie.nn.normed_conv import NormName, norm_layer
from ldie.nn.resnet import ResNet

HeadNorm = Literal["batch", "group", "none"]


@dataclass(frozen=True)
class BackboneConfig:
    """A residual network (arXiv:1512.03385) and the feature pyramid on its stages (arXiv:1612.03144)."""

    stem: Literal["conv7", "conv3"] = "conv7"
    """Down to stride 4: ``conv7``, 7 x 7 of stride 2 and max-pooling, as published; ``conv3``, 3 x 3 of stride 2, and
    the first stage halves, too."""
    stem_channel: Positive = 64
    block: Literal["bottleneck", "basic"] = "bottleneck"
    blocks: tuple[Positive, ...] = (3, 4, 6, 3)
    """Residual blocks of each stage; the stages have strides 4, 8, 16, ..."""
    widths: tuple[Positive, ...] = (256, 512, 1024, 2048)
    """Output channels of each stage."""
    stride_in_1x1: bool = False
    """Where a bottleneck halves: in its first 1 x 1 convolution (MSRA's weights) or in its 3 x 3 (torchvision's)."""
    normalization: NormName = "frozen"
    """``frozen``: batch norm whose statistics and factors are constants."""
    frozen_eps: Annotated[float, Field(ge=0)] = 1e-5
    """What frozen norms add to variances; 0 for torchvision's published weights of version 1."""
    freeze_at: Count = 2
    """Parts of the network that do not learn: 1 the stem, 2 the first stage, too, and so on; 0: all learn."""
    pyramid_channel: Positive = 256
    pyramid_norm: HeadNorm = "none"

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level of the pyramid: one for each stage, and one twice as coarse."""
        return tuple(4 * 2**level for level in range(len(self.blocks) + 1))

    def check(self) -> None:
        """Checks what spans several keys.

        Raises:
            ConfigError: Naming the keys that do not fit together.
        """
        if not 1 <= len(self.blocks) == len(self.widths) <= 7:
            raise ConfigError(
                "model.backbone.blocks and model.backbone.widths need one entry for each of 1 to 7 stages, got "
                f"{list(self.blocks)} and {list(self.widths)}"
            )


TINY_BACKBONE = BackboneConfig(
    stem="conv3",
    stem_channel=16,
    block="basic",
    blocks=(1, 1, 1),
    widths=(32, 64, 96),
    normalization="batch",
    freeze_at=0,
    pyramid_channel=32,
)
"""For small images and minutes on two CPU cores; all of it learns from scratch."""


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
