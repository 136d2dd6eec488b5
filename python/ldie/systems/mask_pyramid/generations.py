# SPDX-License-Identifier: Apache-2.0
"""Masks of hypotheses on a level: by convolutions of features and masks, or with channels of their own.

Both would be convolutions of ``cat(features, own)`` for each hypothesis, where ``features`` are the same for all of an
image. As a convolution is linear, it is that of the features, once an image, plus that of what is a hypothesis' own:
``conv(cat(f, m)) = conv_f(f) + conv_m(m)``. No copy of the features is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import ldie_ext
from ldie.nn import NormedConv2d, norm_layer
from ldie.systems.mask_pyramid.config import MaskConfig, MaskPyramidModel
from ldie.systems.mask_pyramid.hypotheses import Masks, Seeds


class Places:
    """Where hypotheses are, as maps.

    Args:
        config: The form of these maps.
        strides: Of the levels.
    """

    def __init__(self, config: MaskConfig, strides: Sequence[int]) -> None:
        self.config = config
        self.strides = strides
        self.channels = (config.gauss_mode in ("onehot", "concat")) + 2 * config.offsets

    def gaussians(self, seeds: Seeds, level: int, size: torch.Size) -> Tensor:
        """float32 [B,A,h,w]: 1 in the middle of each hypothesis, the same region of the image on all levels."""
        config = self.config
        stride = self.strides[level]
        radius = self._radii(seeds) / stride
        kind = "onehot" if config.gauss_mode == "onehot" else config.gauss_kind
        return ldie_ext.gaussian_maps(seeds.places / stride, radius, tuple(size), kind=kind)

    def _radii(self, seeds: Seeds) -> Tensor:
        """In pixels."""
        strides = torch.tensor(self.strides, device=seeds.births.device)
        return self.config.gauss_radius * strides[seeds.births].float()

    def channels_of(self, seeds: Seeds, level: int, size: torch.Size, gaussians: Tensor) -> Tensor:
        """[B,A,channels,h,w]: what the features get beside them."""
        maps = [gaussians[:, :, None]] if self.config.gauss_mode in ("onehot", "concat") else []
        if self.config.offsets:
            maps.append(self._offsets(seeds, level, size))
        return torch.cat(maps, 2) if len(maps) > 1 else maps[0]

    def _offsets(self, seeds: Seeds, level: int, size: torch.Size) -> Tensor:
        stride, (height, width) = self.strides[level], size
        x, y = ((torch.arange(side, device=seeds.places.device) + 0.5) * stride for side in (width, height))
        places, radii = seeds.places[..., None], self._radii(seeds)[..., None]
        dx, dy = (x - places[:, :, 0]) / radii, (y - places[:, :, 1]) / radii
        both = dx[:, :, None].expand(-1, -1, height, -1), dy[..., None].expand(-1, -1, -1, width)
        return torch.stack(both, 2)


class ConvMasks(nn.Module):
    """First generation: a level's mask is one convolution of the features and of the mask before it.

    ``C_0`` makes a newborn's mask of the features and its place, ``C_l`` a finer one of features and coarser mask. Per
    hypothesis there are maps of one channel alone.

    Args:
        model: Layers and levels.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        config = model.mask
        self.config = config
        self.outputs = model.num_classes if config.class_masks else 1
        self.places = Places(config, model.strides)
        channel = model.backbone.pyramid_channel
        count = 1 if config.share_across_levels else len(model.strides)
        norm = norm_layer(config.normalization)

        def layers(depth: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(*(NormedConv2d(channel, channel, 3, norm=norm, relu=True) for _ in range(depth)))
                for _ in range(count)
            )

        def split(kernel: int, own: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(SplitConv(channel, own, self.outputs, kernel) for _ in range(count))

        self.deep_first, self.deep = layers(config.init_depth), layers(config.refine_depth)
        self.first = split(config.init_kernel, self.places.channels, count)
        self.finer = split(config.refine_kernel, 1, min(count, len(model.strides) - 1))

    def born(self, features: Tensor, seeds: Seeds, level: int) -> Masks:
        """Masks of newborns on features [B,C,h,w]."""
        own = _own(level, self.first)
        features = self.deep_first[own](self.deep[own](features))
        conv = self.first[own]
        assert isinstance(conv, SplitConv)
        gaussians = self.places.gaussians(seeds, level, features.shape[2:]).to(features.dtype)
        maps = self.places.channels_of(seeds, level, features.shape[2:], gaussians) if self.places.channels else None
        return Masks(conv.masks(features, maps, gaussians, self.config.gauss_mode), None)

    def refined(self, features: Tensor, seeds: Seeds, masks: Masks, level: int, before: Tensor) -> Masks:
        """Masks of hypotheses of the level before, whose logits are ``before`` [B,A,h,w]."""
        conv = self.finer[_own(level - 1, self.finer)]
        assert isinstance(conv, SplitConv)
        features = self.deep[_own(level, self.deep)](features)
        size = features.shape[2:]
        previous = twice(before.sigmoid(), size)
        mode = self.config.gauss_mode
        gaussians = self.places.gaussians(seeds, level, size).to(features.dtype) if mode == "multiply" else previous
        return Masks(
            conv.masks(features, previous[:, :, None], gaussians, mode if mode == "multiply" else "concat"), None
        )


class SplitConv(nn.Module):
    """The convolution of ``cat(features, own)``, in parts.

    Args:
        channel: Of the features.
        own: Channels of each hypothesis.
        outputs: Masks of each hypothesis.
        kernel: Side.
    """

    def __init__(self, channel: int, own: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channel, outputs, kernel, padding=kernel // 2)
        self.own = nn.Conv2d(own, outputs, kernel, padding=kernel // 2, bias=False) if own else None

    def masks(self, features: Tensor, own: Tensor | None, gaussians: Tensor, mode: str) -> Tensor:
        """Logits [B,A,O,h,w]."""
        weight = self.features.weight
        outputs, _, kernel, _ = weight.shape
        if mode == "multiply":
            taps = weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1], 1, 1)
            responses = functional.conv2d(features, taps).unflatten(1, (outputs, kernel**2))
            logits = ldie_ext.gated_conv(gaussians, responses)
            assert self.features.bias is not None
            logits = logits + self.features.bias.reshape(-1, 1, 1)
        else:
            logits = self.features(features)[:, None]
        if mode == "add":  # the same map is added to all channels, so their weights add up
            summed = functional.conv2d(
                gaussians.flatten(0, 1)[:, None], weight.sum(1, keepdim=True), padding=kernel // 2
            )
            logits = logits + summed.unflatten(0, gaussians.shape[:2])
        if self.own is not None and own is not None:
            logits = logits + self.own(own.flatten(0, 1)).unflatten(0, own.shape[:2])
        return logits


class StateMasks(nn.Module):
    """Second generation: hypotheses have channels, which a level refines by residual blocks.

    ``h_l = blocks(relu(W_h up2(h_{l-1}) + W_f f_l + W_g g))``, and a mask's logits are ``W_o h_l``. ``W_h`` is applied
    before the map is made finer, which is the same, as both are linear, on a quarter of the cells.

    Args:
        model: Layers and levels.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        config = model.mask
        self.config = config
        self.outputs = model.num_classes if config.class_masks else 1
        self.places = Places(config, model.strides)
        channel, state = model.backbone.pyramid_channel, config.state_channel
        count = 1 if config.share_across_levels else len(model.strides)
        self.features = nn.ModuleList(nn.Conv2d(channel, state, 1) for _ in range(count))
        later = min(count, len(model.strides) - 1)
        self.states = nn.ModuleList(nn.Conv2d(state, state, 1, bias=False) for _ in range(later))
        own = self.places.channels
        self.own = nn.ModuleList(nn.Conv2d(own, state, 1, bias=False) for _ in range(count if own else 0))
        self.first = nn.ModuleList(_blocks(config, config.init_depth) for _ in range(count))
        self.blocks = nn.ModuleList(_blocks(config, config.refine_depth) for _ in range(count))
        self.out = nn.ModuleList(nn.Conv2d(state, self.outputs, 1) for _ in range(count))

    def born(self, features: Tensor, seeds: Seeds, level: int) -> Masks:
        """Masks and channels of newborns on features [B,C,h,w]."""
        own = _own(level, self.features)
        x = self._inputs(features, seeds, level).relu_()
        return self._outputs(self.first[own](x), seeds, own)

    def refined(self, features: Tensor, seeds: Seeds, masks: Masks, level: int, before: Tensor) -> Masks:
        """Masks and channels of hypotheses of the level before."""
        own = _own(level, self.features)
        assert masks.states is not None
        known = self.states[_own(level - 1, self.states)](masks.states.flatten(0, 1))
        known = twice(known, features.shape[2:])
        x = (self._inputs(features, seeds, level) + known).relu_()
        return self._outputs(x, seeds, own)

    def _inputs(self, features: Tensor, seeds: Seeds, level: int) -> Tensor:
        """[B * A,state,h,w]: all but what the level before knew."""
        own, mode, size = _own(level, self.features), self.config.gauss_mode, features.shape[2:]
        conv = self.features[own]
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        gaussians = self.places.gaussians(seeds, level, size).to(features.dtype)
        if mode == "multiply":
            x = functional.conv2d(features, conv.weight)[:, None] * gaussians[:, :, None] + conv.bias[:, None, None]
        else:
            x = conv(features)[:, None]
        if mode == "add":
            x = x + gaussians[:, :, None] * conv.weight.sum((1, 2, 3))[:, None, None]
        if self.places.channels:
            maps = self.places.channels_of(seeds, level, size, gaussians).flatten(0, 1)
            x = self.own[own](maps).unflatten(0, seeds.alive.shape) + x
        return x.expand(-1, seeds.alive.shape[1], -1, -1, -1).flatten(0, 1)

    def _outputs(self, x: Tensor, seeds: Seeds, own: int) -> Masks:
        states = self.blocks[own](x)
        logits = self.out[own](states)
        return Masks(logits.unflatten(0, seeds.alive.shape), states.unflatten(0, seeds.alive.shape))


class _Block(nn.Module):
    """A residual block that keeps channels and size."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        norm, width = norm_layer(config.normalization), config.state_channel
        if config.block == "basic":
            convs = [NormedConv2d(width, width, 3, norm=norm, relu=True), NormedConv2d(width, width, 3, norm=norm)]
        else:
            inner = width // 2
            convs = [
                NormedConv2d(width, inner, 1, norm=norm, relu=True),
                NormedConv2d(inner, inner, 3, norm=norm, relu=True),
                NormedConv2d(inner, width, 1, norm=norm),
            ]
        self.convs = nn.Sequential(*convs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = (self.convs(x) + x).relu_()
        return result


def _blocks(config: MaskConfig, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(config) for _ in range(depth)))


def twice(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps [N,C,h,w] twice as fine, of which the cells of a map of ``size`` stay.

    Each cell becomes four, so that middles of cells stay where they are in the image, also where sizes are odd.
    """
    fine = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    return fine[:, :, : size[0], : size[1]]


def _own(level: int, layers: nn.ModuleList) -> int:
    """Which of the layers is a level's."""
    return min(level, len(layers) - 1)
