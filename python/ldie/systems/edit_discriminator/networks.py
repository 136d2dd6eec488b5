# SPDX-License-Identifier: Apache-2.0
"""What was done to a picture, and whether that is what was asked for, as networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ldie.nn.blocks import ConvBlock


class PairEncoder(nn.Module):
    """What was done to a picture, as a vector: convolutions over source, picture, difference and region.

    The first keeps the size, for most edits act on single pixels; means inside the region and over the whole picture
    are taken of every map. There is no normalisation over the batch or the picture: by how much a picture changed is
    what counts, and the mixture of negatives in a batch is not that of an evaluation.

    Args:
        widths: Channels of the convolutions; all but the first halve the map.
        outputs: Width of the vector.
    """

    def __init__(self, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        sizes = zip([10, *widths], widths, strict=False)
        self.maps = nn.ModuleList(
            ConvBlock(inputs, width, stride=1 if k == 0 else 2, norm="none", act="leaky_relu")
            for k, (inputs, width) in enumerate(sizes)
        )
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
