# SPDX-License-Identifier: Apache-2.0
"""The discriminator: does this picture come of that source by this request?

After the multi-scale patch discriminator of pix2pixHD (Wang et al., arXiv:1711.11585, section 3.2), told the request as
in T2ONet (Shi et al., arXiv:2106.13156).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldie.systems.editing.config import DiscriminatorConfig, EditorModel
from ldie.tasks.editing.reading import language_encoder
from ldie.tasks.editing.words.vocabulary import Vocabulary


@dataclass(frozen=True)
class Judgement:
    """What the network of one scale thinks of B pictures."""

    scores: Tensor
    """[B, 1, h, w], of overlapping patches; the higher, the more real."""
    features: tuple[Tensor, ...]
    """Of each layer before the scores, [B, channels, h, w]."""


class InstanceNorm(nn.Module):
    """Each channel of each picture to mean 0 and variance 1; a single cell, which has no variance, stays."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return nn.functional.instance_norm(x) if x.shape[2] * x.shape[3] > 1 else x


class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches.

    Convolutions of stride 2 over source and picture, then at every cell the request beside what was seen, and two more
    convolutions. Only the second convolution of stride 2 and those behind it are normalised: a norm on the first would
    hide how bright pictures are, and one behind the request would take most of it away again, as it is the same in all
    cells.

    Args:
        config: Widths.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        norm = InstanceNorm if config.normalization == "instance" else nn.Identity
        sizes = list(zip([6, *config.widths], config.widths, strict=False))
        self.look = nn.ModuleList(
            _layer(inputs, width, 2, norm() if index else nn.Identity()) for index, (inputs, width) in enumerate(sizes)
        )
        sizes = [(config.widths[-1] + config.text, config.hidden), (config.hidden, config.hidden)]
        self.compare = nn.ModuleList(_layer(inputs, width, 1, nn.Identity()) for inputs, width in sizes)
        self.score = _convolution(config.hidden, 1, 1)

    def forward(self, x: Tensor, text: Tensor) -> Judgement:
        """Source and picture [B, 6, H, W], and the request [B, text]."""
        features = []
        for layer in self.look:
            features.append(x := layer(x))
        x = torch.cat([x, text[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        for layer in self.compare:
            features.append(x := layer(x))
        return Judgement(self.score(x), tuple(features))


class Discriminator(nn.Module):
    """Patch discriminators on a pyramid, and an encoder of requests of their own.

    The editor's encoder would do badly here: what tells real from false is not what tells what to do.

    Args:
        config: Of all networks.
        vocabulary: Of the requests.
    """

    def __init__(self, config: EditorModel, vocabulary: Vocabulary) -> None:
        super().__init__()
        language, own = config.language, config.discriminator
        self.language = language_encoder(language, vocabulary)
        self.text = nn.Sequential(
            nn.Linear(2 * language.hidden * language.layers, own.text), nn.BatchNorm1d(own.text), nn.LeakyReLU(0.2)
        )
        self.networks = nn.ModuleList(PatchDiscriminator(own) for _ in range(own.scales))
        self.smaller = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def read(self, words: Tensor) -> Tensor:
        """Requests int64 [B, W], as the vocabulary numbers them -> [B, text], for :meth:`forward`."""
        return self.text(self.language(words).hidden.transpose(0, 1).flatten(1))

    def forward(self, source: Tensor, picture: Tensor, text: Tensor) -> list[Judgement]:
        """Judges pictures.

        Args:
            source: [B, 3, H, W], RGB in [0, 1]; of any size.
            picture: The same, what was made of it.
            text: [B, text], from :meth:`read`.

        Returns:
            By scale, the whole size first. Differentiable in all arguments.
        """
        x = torch.cat([source, picture], 1) * 2 - 1
        judgements = []
        for index, network in enumerate(self.networks):
            x = self.smaller(x) if index else x
            judgements.append(network(x, text))
        return judgements


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride, padding=2)


def _layer(inputs: int, outputs: int, stride: int, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(_convolution(inputs, outputs, stride), norm, nn.LeakyReLU(0.2))
