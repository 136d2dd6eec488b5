# SPDX-License-Identifier: Apache-2.0
"""Steps one after the other: which operator, with which parameters, because of which words.

After T2ONet (Shi et al., arXiv:2106.13156, section 4), with padding left out of the attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldie.nn.language import LanguageCode
from ldie.systems.editing.config import EditorModel
from ldie.systems.editing.heads import DiscreteHeads, ParameterHeads
from ldie_ext import EditOp

END = 0
"""The token that ends a sequence; as an input, the one that begins it. Operator i of the facts has token i + 1."""

State = tuple[Tensor, Tensor]
"""Hidden states and cells of an LSTM [L, B, H]."""


@dataclass(frozen=True)
class Thoughts:
    """What a decoder has in mind at T steps of B sequences."""

    hidden: Tensor
    """[B, T, H]."""
    attention: Tensor | None
    """[B, T, W], over a request's tokens; rows add up to 1."""
    state: State
    """To go on from."""


class Decoder(nn.Module):
    """An LSTM over (operator before, picture now), attention to the request's words, and the choice of an operator.

    It starts from the request's last hidden states, with empty cells.

    Args:
        config: Of all networks.
        operators: To choose from.
    """

    def __init__(self, config: EditorModel, operators: Sequence[EditOp]) -> None:
        super().__init__()
        self.config = config.decoder
        width, image = 2 * config.language.hidden, config.image.code if config.image.enabled else 0
        inputs = config.decoder.embedding + image
        self.embedding = nn.Embedding(len(operators) + 1, config.decoder.embedding)
        self.image = nn.Sequential(nn.Linear(image, image), nn.ReLU()) if image else None
        self.memory = (
            nn.LSTM(inputs, width, config.language.layers, batch_first=True)
            if config.decoder.lstm
            else nn.Sequential(nn.Linear(inputs + width, width), nn.Tanh())
        )
        self.mix = nn.Sequential(nn.Linear(2 * width if config.decoder.attention else width, width), nn.Tanh())
        self.choice = nn.Linear(width, len(operators) + 1)
        saturation, levels = config.decoder.saturation, config.decoder.levels
        self.parameters_of = (
            DiscreteHeads(width, operators, saturation, levels)
            if levels
            else ParameterHeads(width, operators, saturation)
        )

    def start(self, language: LanguageCode) -> State:
        """The state before the first step."""
        return language.hidden.contiguous(), torch.zeros_like(language.hidden)

    def forward(self, tokens: Tensor, images: Tensor | None, language: LanguageCode, state: State) -> Thoughts:
        """Some steps.

        Args:
            tokens: int64 [B, T], of the operator before each step.
            images: [B, T, D], codes of the picture before each step; None where pictures are not looked at.
            language: The request.
            state: Before the first of these steps.
        """
        inputs = self.embedding(tokens)
        if self.image is not None and images is not None:
            inputs = torch.cat([inputs, self.image(images)], 2)
        if self.config.lstm:
            hidden, state = self.memory(inputs, state)
        else:
            request = language.hidden[-1][:, None].expand(-1, inputs.shape[1], -1)
            hidden = self.memory(torch.cat([inputs, request], 2))
        if not self.config.attention:
            return Thoughts(self.mix(hidden), None, state)
        weights = _attention(hidden, language)
        context = weights @ language.words
        return Thoughts(self.mix(torch.cat([context, hidden], 2)), weights, state)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the tokens: [..., H] -> [..., 1 + operators]."""
        return self.choice(hidden)


def _attention(hidden: Tensor, language: LanguageCode) -> Tensor:
    """Softmax of dot products over the tokens that are there; padding has no weight."""
    scores = hidden @ language.words.transpose(1, 2)
    return scores.masked_fill(~language.mask[:, None], -torch.inf).softmax(2)
