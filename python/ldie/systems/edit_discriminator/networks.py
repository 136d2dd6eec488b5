# SPDX-License-Identifier: Apache-2.0
"""What was done to a picture, and whether that is what was asked for, as networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ldie.nn.blocks import ConvBlock

_DARK = 0.05
"""Keeps logarithms and quotients finite at black."""
_INPUTS = 3 * 6 + 1


def described(images: Tensor) -> Tensor:
    """What edits change, at each pixel: RGB, log V and S of HSV, and how much the luminance stands out.

    An edit of brightness adds a constant to log V, one of saturation scales S, one of sharpness the last; all of them
    stay finite at black.

    Args:
        images: [B, 3, H, W], RGB in [0, 1].

    Returns:
        [B, 6, H, W].
    """
    value, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    light = (images * images.new_tensor([0.27, 0.67, 0.06])[:, None, None]).sum(1, keepdim=True)
    around = nn.functional.avg_pool2d(nn.functional.pad(light, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.cat([images, (value + _DARK).log(), (value - least) / (value + _DARK), 4 * (light - around).abs()], 1)


class PairEncoder(nn.Module):
    """What was done to a picture, as a vector: convolutions over what describes source, picture and their difference.

    Two of 1 x 1 follow the first, for most edits act on single pixels; means inside the region and over the whole
    picture are taken of the input and of every map. There is no normalisation over the batch or the picture: by how
    much a picture changed is what counts, and the mixture of negatives in a batch is not that of an evaluation.

    Args:
        widths: Channels of the convolutions, each of which halves the map.
        outputs: Width of the vector.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        first, *others = widths
        pixels = (_block(_INPUTS, first, 3, 2), _block(first, first, 1), _block(first, first, 1))
        halving = (_block(inputs, width, 3, 2) for inputs, width in zip(widths, others, strict=False))
        self.maps = nn.ModuleList([nn.Sequential(*pixels), *halving])
        self.code = nn.Sequential(nn.Linear(2 * (_INPUTS + sum(widths)), outputs), nn.LeakyReLU())

    def forward(self, sources: Tensor, pictures: Tensor, regions: Tensor) -> Tensor:
        """The codes of pairs.

        Args:
            sources: [B, 3, H, W], RGB in [0, 1].
            pictures: [B, 3, H, W].
            regions: [B, 1, H, W] in [0, 1], where the requests act.

        Returns:
            [B, outputs].
        """
        before, after = described(sources), described(pictures)
        maps = torch.cat([before, after, 4 * (after - before), regions], 1)
        means = _means(maps, regions)
        for block in self.maps:
            maps = block(maps)
            means += _means(maps, regions)
        code: Tensor = self.code(torch.cat(means, 1))
        return code


def _means(maps: Tensor, regions: Tensor) -> list[Tensor]:
    """Of maps [B, C, H, W] inside the regions and everywhere, each [B, C]."""
    weights = nn.functional.adaptive_avg_pool2d(regions, (maps.shape[2], maps.shape[3])) + 1e-6
    return [(maps * weights).sum((2, 3)) / weights.sum((2, 3)), maps.mean((2, 3))]


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> ConvBlock:
    return ConvBlock(inputs, outputs, kernel, stride, norm="none", act="leaky_relu")


class Comparison(nn.Module):
    """Whether what was done is what was asked for: ``MLP([d; a; d * a])`` of the two codes.

    Args:
        done: Width of the code of what was done.
        asked: Width of that of the request.
    """

    def __init__(self, done: int, asked: int) -> None:
        super().__init__()
        self.asked = nn.Linear(asked, done)
        self.logit = nn.Sequential(
            nn.Linear(3 * done, done), nn.LeakyReLU(), nn.Linear(done, done), nn.LeakyReLU(), nn.Linear(done, 1)
        )

    def forward(self, done: Tensor, asked: Tensor) -> Tensor:
        """[..., done] and [..., asked] -> logits [...]."""
        wanted = self.asked(asked)
        logits: Tensor = self.logit(torch.cat([done, wanted.expand_as(done), done * wanted], -1))[..., 0]
        return logits


class StepNames(nn.Module):
    """Which operators a code speaks of, and by how much they act: to be learned beside, so that codes say that.

    Args:
        width: Of the code.
        operators: How many there are.
    """

    def __init__(self, width: int, operators: int) -> None:
        super().__init__()
        self.names = nn.Linear(width, operators)
        self.amounts = nn.Linear(width, operators)

    def loss(self, codes: Tensor, named: Tensor, amounts: Tensor, known: Tensor) -> Tensor:
        """Cross entropy of the names, and the squared error of the amounts of those that are there.

        Args:
            codes: [B, width].
            named: float [B, operators], 1 for operators of the steps.
            amounts: [B, operators], how far each one's first parameter is from where it does nothing.
            known: bool [B]; of others nothing counts.
        """
        entropy = nn.functional.binary_cross_entropy_with_logits(
            self.names(codes).float(), named, known[:, None].to(named), reduction="sum"
        )
        counted = named * known[:, None]
        errors = (self.amounts(codes).float() - amounts).square() * counted
        labels = known.sum() * named.shape[1]
        return entropy / labels.clamp(min=1) + errors.sum() / counted.sum().clamp(min=1)
