# SPDX-License-Identifier: Apache-2.0
"""Sentences as vectors: word embeddings and a recurrent network that reads them in both directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PAD = 0
"""The number of what stands behind a sentence's last word."""


class WordEmbedding(nn.Module):
    """Vectors of words, those of the special tokens apart, so that they can learn alone.

    Args:
        specials: Tokens before the first word: padding, whose vector is zero, start, end, unknown, ...
        words: How many words.
        width: Of a vector.
        fixed: Words stay as they are; special tokens learn.
    """

    def __init__(self, specials: int, words: int, width: int, fixed: bool = False) -> None:
        super().__init__()
        self.specials = nn.Parameter(torch.randn(specials - 1, width))
        self.words = nn.Parameter(torch.randn(words, width), requires_grad=not fixed)

    def load(self, vectors: Tensor) -> None:
        """Takes over the words' vectors [words, width]."""
        with torch.no_grad():
            self.words.copy_(vectors)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] -> [..., width]."""
        table = torch.cat([self.specials.new_zeros(1, self.specials.shape[1]), self.specials, self.words])
        return nn.functional.embedding(ids, table)


@dataclass(frozen=True)
class LanguageCode:
    """What a network made of B sentences of at most W tokens."""

    words: Tensor
    """[B, W, D], one vector for each token, zero behind the last."""
    mask: Tensor
    """bool [B, W], true where there is a token."""
    hidden: Tensor
    """[L, B, D], of each layer: the state behind the last token and, from right to left, that before the first."""


class LanguageEncoder(nn.Module):
    """A bidirectional LSTM over embedded words.

    Each direction is a network of its own that walks from left to right; for the second the tokens of each sentence are
    turned round within its length. So padding is never in front of words, nothing is packed, and no length has to be
    known on the host.

    Args:
        embedding: Of the words.
        width: Of the embedding's vectors.
        hidden: Of each direction; D is twice that.
        layers: One above the other.
        dropout: Of the embedded words, and between the layers.
    """

    def __init__(self, embedding: WordEmbedding, width: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)
        sizes = [width] + [2 * hidden] * (layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(size, hidden, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(nn.LSTM(size, hidden, batch_first=True) for size in sizes)

    def forward(self, ids: Tensor) -> LanguageCode:
        """int64 [B, W], padded by :data:`PAD` behind the last token; every sentence has one."""
        mask = ids != PAD
        last = mask.sum(1) - 1
        places = torch.arange(ids.shape[1], device=ids.device)
        turned = (last[:, None] - places).clamp(min=0)  # where each place's token is in the other direction
        x = self.embedding(ids)
        hidden = []
        for left, right in zip(self.forwards, self.backwards, strict=True):
            x = self.dropout(x)
            there, _ = left(x)
            back, _ = right(_taken(x, turned))
            x = torch.cat([there, _taken(back, turned)], 2) * mask[..., None]
            hidden.append(torch.cat([_at(there, last), _at(back, last)], 1))
        return LanguageCode(x, mask, torch.stack(hidden))


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """[B, W, D] at the places [B, W] of each sentence."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


def _at(x: Tensor, places: Tensor) -> Tensor:
    """[B, W, D] at one place [B] of each sentence: [B, D]."""
    return x.gather(1, places[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
