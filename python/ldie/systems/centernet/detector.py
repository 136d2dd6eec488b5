# SPDX-License-Identifier: Apache-2.0
"""The detector that all scales share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ldie.nn import ConvBlock, DeformBlock, ResidualBlock, activation, normalization
from ldie.systems.centernet.config import DetectorConfig

FOCAL_PRIOR_BIAS = -2.19
"""logit(0.1): every cell starts as a rare positive, which keeps the first focal losses finite (arXiv:1708.02002)."""


class Maps(NamedTuple):
    """Outputs of the detector on the common feature map."""

    heatmap: Tensor  # [B,C,H,W], logits of the box centres
    wh: Tensor  # [B,2,H,W], width and height in cells
    offset: Tensor  # [B,2,H,W], centre minus its cell


class Detector(nn.Module):
    """CenterNet (arXiv:1904.07850): residual stages down, transposed convolutions up, heads on the input's grid.

    Before each transposed convolution stands a 3 x 3 convolution that narrows the map: a deformable one in type
    ``resnet18``, the published detector, and an ordinary one in type ``skip``, which adds the features of the way down.

    Args:
        config: Type, widths, blocks, head channels, activation, normalisation.
        inputs: Channels of the common feature space.
        num_classes: Channels of the centre heatmap.
    """

    def __init__(self, config: DetectorConfig, inputs: int, num_classes: int) -> None:
        super().__init__()
        norm, act = config.normalization, config.activation
        widths = config.widths
        stages = []
        for level, width in enumerate(widths):
            blocks = [ResidualBlock(inputs, width, 1 if level == 0 else 2, norm, act)]
            blocks += [ResidualBlock(width, width, 1, norm, act) for _ in range(config.blocks - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.skip = config.type == "skip"
        narrow: type[ConvBlock | DeformBlock] = ConvBlock if self.skip else DeformBlock
        self.ups = nn.ModuleList(
            nn.Sequential(
                narrow(deep, shallow, norm=norm, act=act),
                nn.ConvTranspose2d(shallow, shallow, 4, 2, 1, bias=False),
                normalization(norm, shallow),
            )
            for deep, shallow in zip(widths[:0:-1], widths[-2::-1])
        )
        self.act = activation(act)
        self.heatmap = Head(config, widths[0], num_classes, bias=FOCAL_PRIOR_BIAS)
        self.wh = Head(config, widths[0], 2, std=0.001)
        self.offset = Head(config, widths[0], 2, std=0.001)

    def forward(self, features: Tensor) -> Maps:
        """Features [B,inputs,H,W] -> maps on the same grid."""
        height, width = features.shape[2:]
        multiple = 2 ** len(self.ups)
        x = nn.functional.pad(features, (0, -width % multiple, 0, -height % multiple))
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up in self.ups:
            x = self.act(up(x) + skips.pop() if self.skip else up(x))
        x = x[:, :, :height, :width]
        return Maps(self.heatmap(x), self.wh(x), self.offset(x))


def scale_maps(extractors: nn.ModuleDict, detector: nn.Module, images: Sequence[Tensor]) -> list[Maps]:
    """The detector's maps by scale in use, of network inputs [B,3,H_i,W_i] by scale in use."""
    return [detector(extractor(scale)) for extractor, scale in zip(extractors.values(), images)]


class Head(nn.Sequential):
    """A map of predictions on the grid: 3 x 3 convolution, activation, 1 x 1 convolution.

    Args:
        config: Hidden channels and activation.
        inputs: Input channels.
        outputs: Output channels.
        bias: Output of the untrained head.
        std: Spread of the last weights; None: torch's default.
    """

    def __init__(
        self, config: DetectorConfig, inputs: int, outputs: int, bias: float = 0.0, std: float | None = None
    ) -> None:
        last = nn.Conv2d(config.head_channel, outputs, 1)
        nn.init.constant_(last.get_parameter("bias"), bias)
        if std is not None:
            nn.init.normal_(last.weight, std=std)
        super().__init__(nn.Conv2d(inputs, config.head_channel, 3, padding=1), activation(config.activation), last)
