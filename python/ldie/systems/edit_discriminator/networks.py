# SPDX-License-Identifier: Apache-2.0
"""What was done to a picture, and whether that is what was asked for, as networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ldie.nn.blocks import ConvBlock


class PairEncoder(nn.Module):
    """What was done to a picture, as a vector: convolutions over source, picture, difference and region.

    Two of 1 x 1 follow the first, for most edits act on single pixels; means inside the region and over the whole
    picture are taken of every map from there on. There is no normalisation over the batch or the picture: by how much
    a picture changed is what counts, and the mixture of negatives in a batch is not that of an evaluation.

    Args:
        widths: Channels of the convolutions, each of which halves the map.
        outputs: Width of the vector.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        first, *others = widths
        pixels = (_block(10, first, 3, 2), _block(first, first, 1), _block(first, first, 1))
        halving = (_block(inputs, width, 3, 2) for inputs, width in zip(widths, others, strict=False))
        self.maps = nn.ModuleList([nn.Sequential(*pixels), *halving])
        self.code = nn.Sequential(nn.Linear(2 * sum(widths), outputs), nn.LeakyReLU())

    def forward(self, sources: Tensor, pictures: Tensor, regions: Tensor) -> Tensor:
        """The codes of pairs.

        Args:
            sources: [B, 3, H, W], RGB in [0, 1].
            pictures: [B, 3, H, W].
            regions: [B, 1, H, W] in [0, 1], where the requests act.

        Returns:
            [B, outputs].
        """
        maps = torch.cat([sources * 2 - 1, pictures * 2 - 1, 4 * (pictures - sources), regions], 1)
        means = []
        for block in self.maps:
            maps = block(maps)
            weights = nn.functional.adaptive_avg_pool2d(regions, (maps.shape[2], maps.shape[3])) + 1e-6
            means += [(maps * weights).sum((2, 3)) / weights.sum((2, 3)), maps.mean((2, 3))]
        code: Tensor = self.code(torch.cat(means, 1))
        return code


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
