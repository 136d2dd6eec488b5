# SPDX-License-Identifier: Apache-2.0
"""The head: for each place of a grid its categories, and the features that its mask is computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldie.nn import NormedConv2d, norm_layer
from ldie.systems.solo.config import SOLOModel

_PRIOR = 0.01
"""Probability of each category at the start."""


class Outlook(NamedTuple):
    """What the head gives of B images, by level."""

    categories: list[Tensor]
    """Logits [B,K,S,S]; with softmax the last of K is background."""
    features: list[Tensor]
    """[B,C,h,w], from which masks are computed."""


class SOLOHead(nn.Module):
    """Two branches of convolutions that all levels share, named as mmdetection's; one last layer of masks a level.

    Args:
        model: Grids, layers and classes.
    """

    def __init__(self, model: SOLOModel) -> None:
        super().__init__()
        config = model.head
        self.config = config
        norm = norm_layer(config.normalization)
        inputs = model.backbone.pyramid_channel
        self.mask_convs, self.cls_convs = nn.ModuleList(), nn.ModuleList()
        for index in range(config.convs):
            width = config.channel if index else inputs
            seen, plain = (width, norm) if index else (width + 2, norm if config.coord_norm else None)
            self.mask_convs.append(NormedConv2d(seen, config.channel, 3, norm=plain, relu=True))
            self.cls_convs.append(NormedConv2d(width, config.channel, 3, norm=norm, relu=True))
        self.conv_mask_list = nn.ModuleList(nn.Conv2d(config.channel, grid**2, 1) for grid in config.grids)
        outputs = model.num_classes + (config.category == "softmax")
        kernel, count = config.category_kernel, len(config.grids) if config.category_per_level else 1
        last = [nn.Conv2d(config.channel, outputs, kernel, padding=kernel // 2) for _ in range(count)]
        self.conv_cls: nn.Module = nn.ModuleList(last) if config.category_per_level else last[0]
        self._initialise(last)

    def _initialise(self, last: Sequence[nn.Conv2d]) -> None:
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.normal_(conv.weight, std=0.01)
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)
        starts = [(conv, self.config.mask_prior) for conv in self.conv_mask_list]
        if self.config.category == "sigmoid":
            starts += [(conv, _PRIOR) for conv in last]
        for conv, probability in starts:
            nn.init.constant_(conv.get_parameter("bias"), math.log(probability / (1 - probability)))

    def forward(self, maps: Sequence[Tensor]) -> Outlook:
        """Maps [B,C,h,w] by level, in their strides."""
        levels = range(len(maps))
        return Outlook([self._categories(maps[i], i) for i in levels], [self._mask_features(level) for level in maps])

    def _categories(self, level: Tensor, index: int) -> Tensor:
        grid = self.config.grids[index]
        x = functional.interpolate(level, (grid, grid), mode="bilinear", align_corners=self.config.align_corners)
        for conv in self.cls_convs:
            x = conv(x)
        last = self.conv_cls[index] if isinstance(self.conv_cls, nn.ModuleList) else self.conv_cls
        result: Tensor = last(x)
        return result

    def _mask_features(self, level: Tensor) -> Tensor:
        x = torch.cat([level, coordinates(level)], 1)
        if self.config.upsample_pos == "before":
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=self.config.align_corners)
        for conv in self.mask_convs:
            x = conv(x)
        return x

    def masks(self, features: Tensor, level: int, counts: Sequence[int], places: Tensor) -> Tensor:
        """Logits [n,h,w] of single places of a level: the last layer of these alone, no other mask is computed.

        Without any place all weights still have gradients, which are 0: other processes may have some.

        Args:
            features: [B,C,h,w] of the level.
            level: Which one.
            counts: How many places each image has.
            places: int64 [n], rows of the grid one after the other, image by image.
        """
        parts = zip(features, places.split(list(counts)), strict=True)
        return torch.cat([self.image_masks(image, level, own) for image, own in parts])

    def image_masks(self, features: Tensor, level: int, places: Tensor) -> Tensor:
        """:meth:`masks` of one image, whose features of the level are [C,h,w]."""
        last = self.conv_mask_list[level]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        weight = last.weight.flatten(1).to(features.dtype).index_select(0, places)
        bias = last.bias.to(features.dtype).index_select(0, places)
        logits = weight @ features.flatten(1) + bias[:, None]
        return logits.unflatten(1, features.shape[1:])


def coordinates(like: Tensor) -> Tensor:
    """[B,2,h,w]: x and y of the cells of a map [B,C,h,w], -1 at the left and at the top, 1 at the other ends."""
    height, width = like.shape[2:]
    y, x = (torch.linspace(-1, 1, side, device=like.device, dtype=like.dtype) for side in (height, width))
    both = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
    return both.expand(like.shape[0], -1, -1, -1)
