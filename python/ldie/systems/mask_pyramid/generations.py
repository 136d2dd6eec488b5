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

    def gaussians(self, seeds: Seeds, level: int, like: Tensor) -> Tensor:
        """[B,A,h,w] as maps ``like``: 1 at the place of birth, the same region of the image on all levels."""
        config = self.config
        return ldie_ext.gaussian_maps(
            seeds.places,
            seeds.radii,
            (like.shape[2], like.shape[3]),
            step=self.strides[level],
            kind="onehot" if config.gauss_mode == "onehot" else config.gauss_kind,
            dtype=like.dtype,
        )

    def offsets(self, seeds: Seeds, level: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """[B,A,1,w] and [B,A,h,1] as maps ``like``: how far cells are to the right and down of the place, in radii."""
        stride = self.strides[level]
        both = []
        for axis, side in enumerate((like.shape[3], like.shape[2])):
            middles = (torch.arange(side, device=like.device) + 0.5) * stride
            both.append(
                ((middles - seeds.births[..., axis, None]) / seeds.radii[..., None]).nan_to_num().to(like.dtype)
            )
        return both[0][:, :, None], both[1][..., None]


class ConvMasks(nn.Module):
    """First generation: a level's mask is one convolution of the features and of the mask before it.

    Newborns have no mask yet, but their place. Per hypothesis there are maps of one channel alone.

    Args:
        model: Layers and levels.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        config = model.mask
        self.config = config
        self.places = Places(config, model.strides)
        channel, outputs = model.backbone.pyramid_channel, model.num_classes if config.class_masks else 1
        norm = norm_layer(config.normalization)
        own = 1 + 2 * config.offsets

        def deep(depth: int) -> nn.Sequential:
            return nn.Sequential(*(NormedConv2d(channel, channel, 3, norm=norm, relu=True) for _ in range(depth)))

        kinds = _kinds(config, len(model.strides))
        self.deep = nn.ModuleList(deep(config.refine_depth if later else config.init_depth) for later in kinds)
        sides = [config.refine_kernel if later else config.init_kernel for later in kinds]
        self.shared = nn.ModuleList(nn.Conv2d(channel, outputs, side, padding=side // 2) for side in sides)
        self.own = nn.ModuleList(nn.Conv2d(own, outputs, side, padding=side // 2, bias=False) for side in sides)

    def forward(self, features: Tensor, seeds: Seeds, before: Masks | None, level: int) -> tuple[Tensor, None]:
        """Logits [B,A,O,h,w] of all hypotheses on features [B,C,h,w]; the first ones have masks ``before``."""
        which = min(level, len(self.shared) - 1)
        features = self.deep[which](features)
        shared, own = self.shared[which], self.own[which]
        assert isinstance(shared, nn.Conv2d)
        gaussians = self.places.gaussians(seeds, level, features)
        own_maps = gaussians[:, :, None]
        if before is not None:
            known = twice(before.logits.sigmoid().to(features.dtype), features.shape[2:])
            own_maps = torch.cat([known, gaussians[:, known.shape[1] :]], 1)[:, :, None]
        if self.config.offsets:
            offsets = [part.expand_as(gaussians)[:, :, None] for part in self.places.offsets(seeds, level, features)]
            own_maps = torch.cat([own_maps, *offsets], 2)
        logits = own(own_maps.flatten(0, 1)).unflatten(0, seeds.slots.shape)
        return logits + self._shared(shared, features, gaussians), None

    def _shared(self, conv: nn.Conv2d, features: Tensor, gaussians: Tensor) -> Tensor:
        """[B,A,O,h,w], or [B,1,O,h,w]: the part of the features."""
        weight, bias, mode = conv.weight, conv.bias, self.config.gauss_mode
        assert bias is not None
        if mode == "multiply":
            taps = weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1], 1, 1)
            responses = functional.conv2d(features, taps).unflatten(1, (weight.shape[0], -1))
            return ldie_ext.gated_conv(gaussians, responses) + bias[:, None, None]
        shared: Tensor = conv(features)[:, None]
        if mode == "add":  # the same map is added to all channels, so their weights add up
            summed = weight.sum(1, keepdim=True)
            added = functional.conv2d(gaussians.flatten(0, 1)[:, None], summed, padding=weight.shape[2] // 2)
            shared = shared + added.unflatten(0, gaussians.shape[:2])
        return shared


class StateMasks(nn.Module):
    """Second generation: hypotheses have channels, which a level refines by residual blocks.

    ``h_l = blocks(relu(W_h up2(h_{l-1}) + W_f f_l + W_g g))``, and a mask's logits are ``W_o h_l``. ``W_h`` is applied
    before the map is made finer, which is the same, as both are linear, on a quarter of the cells. Newborns have no
    ``h_{l-1}``.

    Args:
        model: Layers and levels.
    """

    def __init__(self, model: MaskPyramidModel) -> None:
        super().__init__()
        config = model.mask
        self.config = config
        self.places = Places(config, model.strides)
        channel, state = model.backbone.pyramid_channel, config.state_channel
        outputs = model.num_classes if config.class_masks else 1
        kinds = _kinds(config, len(model.strides))
        self.features = nn.ModuleList(nn.Conv2d(channel, state, 1) for _ in kinds)
        self.states = nn.ModuleList(nn.Conv2d(state, state, 1, bias=False) for later in kinds if later)
        own = (config.gauss_mode in ("onehot", "concat")) + 2 * config.offsets
        self.own = nn.ModuleList(nn.Conv2d(own, state, 1, bias=False) for _ in kinds if own)
        depths = (config.refine_depth if later else config.init_depth for later in kinds)
        self.blocks = nn.ModuleList(nn.Sequential(*(_Block(config) for _ in range(depth))) for depth in depths)
        self.out = nn.ModuleList(nn.Linear(state, outputs) for _ in kinds)

    def forward(self, features: Tensor, seeds: Seeds, before: Masks | None, level: int) -> tuple[Tensor, Tensor]:
        """Logits [B,A,O,h,w] and channels [B,A,h,w,C] of all hypotheses; the first ones have masks ``before``."""
        which = min(level, len(self.out) - 1)
        x = self._inputs(features, seeds, level, which)
        if before is not None:
            assert before.states is not None
            conv = self.states[min(level, len(self.states)) - 1]
            known = twice(conv(_first(before.states)), features.shape[2:])
            x[:, : before.states.shape[1]].add_(_last(known, before.states))
        states = _last(self.blocks[which](_first(x.relu_())), x)
        return self.out[which](states).movedim(4, 2), states

    def _inputs(self, features: Tensor, seeds: Seeds, level: int, which: int) -> Tensor:
        """[B,A,h,w,C]: all but what the level before knew."""
        mode, conv = self.config.gauss_mode, self.features[which]
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        gaussians = self.places.gaussians(seeds, level, features)[..., None]
        if mode == "multiply":
            shared = functional.conv2d(features, conv.weight).movedim(1, 3)[:, None]
            x = torch.addcmul(conv.bias.to(shared.dtype), shared, gaussians)
        else:
            shared = conv(features).movedim(1, 3)[:, None]
            weight = conv.weight.sum(1) if mode == "add" else self._own(which)[0]
            x = torch.addcmul(shared, gaussians.to(shared.dtype), weight.flatten().to(shared.dtype))
        if self.config.offsets:
            for offsets, weight in zip(self.places.offsets(seeds, level, features), self._own(which)[-2:]):
                x = torch.addcmul(x, offsets[..., None].to(x.dtype), weight.to(x.dtype))
        return x

    def _own(self, which: int) -> Tensor:
        """[own,C]: the convolution's weights of what is a hypothesis' own."""
        return self.own[which].get_parameter("weight")[:, :, 0, 0].T


def _first(x: Tensor) -> Tensor:
    """Channels of hypotheses [B,A,h,w,C] as those of images, [B * A,C,h,w], without a copy."""
    return x.flatten(0, 1).movedim(3, 1)


def _last(x: Tensor, like: Tensor) -> Tensor:
    """And back."""
    return x.movedim(1, 3).unflatten(0, like.shape[:2])


def _kinds(config: MaskConfig, levels: int) -> list[bool]:
    """For each set of layers whether it is of levels after the first."""
    return [False] + [True] * min(levels - 1, 1 if config.share_across_levels else levels)


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
        """Channels [N,C,h,w]."""
        result: Tensor = self.convs(x).add_(x).relu_()
        return result


def twice(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps [N,C,h,w] twice as fine, of which the cells of a map of ``size`` stay.

    Each cell becomes four, so that middles of cells stay where they are in the image, also where sizes are odd.
    """
    fine = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    return fine[:, :, : size[0], : size[1]]
