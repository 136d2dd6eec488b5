# SPDX-License-Identifier: Apache-2.0
"""The heads: proposals from the pyramid's maps; classes, boxes, masks and keypoints from the features of regions.

Those of regions take features [R,C,p,p]; R may be 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from ldie.nn import NormedConv2d, NormName, norm_layer
from ldie.systems.rcnn.config import BoxHeadConfig, KeypointHeadConfig, MaskHeadConfig, RCNNModel


class RPNHead(nn.Module):
    """Scores and boxes of the anchors, by the same layers for all levels.

    Args:
        channel: Of the maps.
        anchors: At each cell.
        depth: 3 x 3 convolutions; one is called ``conv``, several ``conv.conv0``, ``conv.conv1``, ...
    """

    def __init__(self, channel: int, anchors: int, depth: int = 1) -> None:
        super().__init__()
        convs = [NormedConv2d(channel, channel, 3, relu=True) for _ in range(depth)]
        named: dict[str, nn.Module] = {f"conv{index}": conv for index, conv in enumerate(convs)}
        self.conv = convs[0] if depth == 1 else nn.Sequential(OrderedDict(named))
        self.objectness_logits = NormedConv2d(channel, anchors, 1)
        self.anchor_deltas = NormedConv2d(channel, 4 * anchors, 1)
        for conv in (*convs, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(conv.weight, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps [B,C,H,W] by level -> logits [B,A,H,W] and offsets [B,4A,H,W], anchor by anchor, by level."""
        hidden = [self.conv(level) for level in maps]
        return [self.objectness_logits(level) for level in hidden], [self.anchor_deltas(level) for level in hidden]


class BoxHead(nn.Sequential):
    """One vector for each region: convolutions ``conv1``, ... and linear layers ``fc1``, ..., a ReLU after each.

    Args:
        channel: Of the features.
        config: Layers.
    """

    def __init__(self, channel: int, config: BoxHeadConfig) -> None:
        norm = norm_layer(config.normalization)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(1, config.convs + 1):
            layers[f"conv{index}"] = NormedConv2d(channel, channel, 3, norm=norm, relu=True)
        layers["flatten"] = nn.Flatten()
        inputs = channel * config.pool**2
        for index in range(1, config.linears + 1):
            layers[f"fc{index}"] = _linear(inputs, config.channel)
            layers[f"relu{index}"] = nn.ReLU(inplace=True)
            inputs = config.channel
        super().__init__(layers)


class BoxPredictor(nn.Module):
    """Class scores and boxes from a region's vector.

    Args:
        channel: Of the vector.
        classes: Without background, which has the last score.
        class_agnostic: One box for all classes instead of one for each.
    """

    def __init__(self, channel: int, classes: int, class_agnostic: bool = False) -> None:
        super().__init__()
        self.cls_score = _linear(channel, classes + 1)
        self.bbox_pred = _linear(channel, 4 if class_agnostic else 4 * classes)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """[R,channel] -> logits [R,classes+1] and offsets [R,4 * classes] or [R,4]."""
        return self.cls_score(vectors), self.bbox_pred(vectors)


class MaskHead(nn.Sequential):
    """Mask logits [R,classes,2p,2p]: convolutions ``mask_fcn1``, ..., ``deconv`` and ``predictor``.

    Args:
        channel: Of the features.
        config: Layers.
        classes: Without background.
    """

    def __init__(self, channel: int, config: MaskHeadConfig, classes: int) -> None:
        layers = _convs("mask_fcn", channel, config.channel, config.convs, config.normalization)
        layers["deconv"] = _deconv(config.channel, config.channel, 2)
        layers["relu"] = nn.ReLU(inplace=True)
        layers["predictor"] = predictor = NormedConv2d(config.channel, classes, 1)
        nn.init.normal_(predictor.weight, std=0.001)
        super().__init__(layers)


class KeypointHead(nn.Sequential):
    """Heatmap logits [R,keypoints,4p,4p]: convolutions ``conv_fcn1``, ..., ``score_lowres``, and twice as large again.

    Args:
        channel: Of the features.
        config: Layers.
        keypoints: Of an object.
    """

    def __init__(self, channel: int, config: KeypointHeadConfig, keypoints: int) -> None:
        layers = _convs("conv_fcn", channel, config.channel, config.convs, "none")
        layers["score_lowres"] = _deconv(config.channel, keypoints, 4)
        layers["enlarge"] = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
        super().__init__(layers)


class RoIHeads(nn.Module):
    """All heads of regions; those that the configuration leaves out are None.

    Args:
        channel: Of the features.
        config: Heads, classes and keypoints.
    """

    def __init__(self, channel: int, config: RCNNModel) -> None:
        super().__init__()
        box, mask, keypoint, classes = config.box_head, config.mask_head, config.keypoint_head, config.num_classes
        self.box_head = BoxHead(channel, box)
        self.box_predictor = BoxPredictor(box.channel, classes, box.class_agnostic)
        self.mask_head = MaskHead(channel, mask, classes) if mask.enabled else None
        self.keypoint_head = KeypointHead(channel, keypoint, config.num_keypoints) if keypoint.enabled else None


def _convs(name: str, channel: int, width: int, count: int, norm: NormName) -> OrderedDict[str, nn.Module]:
    """3 x 3 convolutions with ReLUs, called by ``name`` and a number from 1."""
    widths = [channel] + [width] * count
    layer = norm_layer(norm)
    return OrderedDict(
        (f"{name}{index}", NormedConv2d(before, width, 3, norm=layer, relu=True))
        for index, before in enumerate(widths[:-1], start=1)
    )


def _deconv(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    """Twice as large; weights start as those of other convolutions."""
    deconv = nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=kernel // 2 - 1)
    nn.init.kaiming_normal_(deconv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(deconv.get_parameter("bias"))
    return deconv


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.kaiming_uniform_(linear.weight, a=1)
    nn.init.zeros_(linear.bias)
    return linear
