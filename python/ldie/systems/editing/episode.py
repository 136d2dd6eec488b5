# SPDX-License-Identifier: Apache-2.0
"""Episodes: the editor decides a step, sees what it makes of the picture, and decides the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ldie.nn.language import LanguageCode
from ldie.systems.editing.decoder import END, Decoder
from ldie.systems.editing.heads import DiscreteHeads
from ldie.tasks.editing.replay import edited_batch

Choose = Callable[[Tensor, int], Tensor]
"""Numbers [...] from their logarithmic probabilities [..., C], and the step's number; what may not be chosen has minus
infinity."""


@dataclass(frozen=True)
class Levels:
    """Discrete parameters of T steps of B episodes, up to P for each, among L values."""

    chosen: Tensor
    """int64 [B, T, P]."""
    log_probs: Tensor
    """[B, T, P, L]."""
    used: Tensor
    """bool [B, T, P], which parameters the step's operator has."""


class Actor(Protocol):
    """What decides."""

    decoder: Decoder
    codes: Tensor
    """int64 [1 + operators], the number in ``EditOp`` of each token."""

    def see(self, images: Tensor, regions: Tensor | None) -> Tensor | None:
        """Codes [B, D] of pictures, if it looks at them."""

    def parameters_of(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Parameters [B, 24] of the tokens' operators."""


@dataclass(frozen=True)
class Episode:
    """T steps of B episodes; behind its END a sequence has END tokens, which do nothing."""

    tokens: Tensor
    """int64 [B, T]."""
    ops: Tensor
    """int64 [B, T], numbers of ``EditOp``."""
    params: Tensor
    """[B, T, 24]."""
    log_probs: Tensor
    """[B, T, 1 + operators], of the tokens at each step."""
    images: list[Tensor]
    """T + 1 of [B, 3, H, W]: the source, and the picture after each step."""
    attention: Tensor | None
    """[B, T, W]."""
    levels: Levels | None = None
    """Where parameters are discrete."""

    @property
    def result(self) -> Tensor:
        """The last pictures."""
        return self.images[-1]


def greedy(log_probs: Tensor, step: int) -> Tensor:
    """The likeliest."""
    return log_probs.argmax(-1)


def drawn(explore: float) -> Choose:
    """Draws by the probabilities, of which a share is even among all that may be chosen."""

    def choose(log_probs: Tensor, step: int) -> Tensor:
        allowed = log_probs > -torch.inf
        even = allowed / allowed.sum(-1, keepdim=True)
        probs = (1 - explore) * log_probs.exp() + explore * even
        return torch.multinomial(probs.flatten(0, -2), 1).view(probs.shape[:-1])

    return choose


def log_drawn(log_probs: Tensor, chosen: Tensor, explore: float) -> Tensor:
    """The logarithmic probability [...] with which :func:`drawn` draws what was ``chosen`` int64 [...]."""
    count = (log_probs > -torch.inf).sum(-1)
    likely = log_probs.gather(-1, chosen[..., None])[..., 0]
    return torch.logaddexp(likely + likely.new_full((), -explore).log1p(), torch.log(explore / count))


def run_episode(
    model: Actor,
    images: Tensor,
    regions: Tensor | None,
    language: LanguageCode,
    choose: Choose = greedy,
    *,
    levels: Choose = greedy,
    repeats: bool = False,
    allowed: Tensor | None = None,
) -> Episode:
    """Edits pictures step by step.

    Args:
        model: Decides.
        images: float [B, 3, H, W], RGB in [0, 1].
        regions: bool [B, H, W], where edits act; None: everywhere.
        language: The requests.
        choose: Which token, C = 1 + operators.
        levels: Which of the values of a discrete parameter.
        repeats: Whether a sequence may take an operator twice.
        allowed: bool [B, T, 1 + operators], tokens to choose from at each step, END among them once there is nothing
            else; None: all.

    Returns:
        Differentiable in what the parameters depend on.
    """
    count, steps = len(images), model.decoder.config.max_steps
    token = torch.full((count,), END, device=images.device)
    used = torch.zeros(count, len(model.codes), dtype=torch.bool, device=images.device)
    ended = torch.zeros(count, dtype=torch.bool, device=images.device)
    state = model.decoder.start(language)
    tokens, params, log_probs, discrete, attention, pictures = [], [], [], [], [], [images]
    for step in range(steps):
        codes = model.see(pictures[-1], regions)
        thoughts = model.decoder(token[:, None], None if codes is None else codes[:, None], language, state)
        hidden, state = thoughts.hidden[:, 0], thoughts.state
        barred = used if allowed is None else used | ~allowed[:, step]
        logits = model.decoder.logits(hidden).float().masked_fill(barred, -torch.inf)
        log_probs.append(logits.log_softmax(1))
        token = choose(log_probs[-1].detach(), step).masked_fill(ended, END)
        ended = ended | (token == END)
        if not repeats:
            used = used | torch.nn.functional.one_hot(token, used.shape[1]).bool()
            used[:, END] = False
        heads = model.decoder.parameters_of
        if isinstance(heads, DiscreteHeads):
            at_levels = heads.log_probs(hidden, token)
            discrete.append((levels(at_levels.detach(), step), at_levels, heads.used(token)))
            params.append(heads.parameters_at(discrete[-1][0], token))
        else:
            params.append(model.parameters_of(hidden, token))
        pictures.append(edited_batch(pictures[-1], model.codes[token][:, None], params[-1][:, None], regions))
        tokens.append(token)
        if thoughts.attention is not None:
            attention.append(thoughts.attention[:, 0])
    sequence = torch.stack(tokens, 1)
    return Episode(
        sequence,
        model.codes[sequence],
        torch.stack(params, 1),
        torch.stack(log_probs, 1),
        pictures,
        torch.stack(attention, 1) if attention else None,
        Levels(*(torch.stack(items, 1) for items in zip(*discrete, strict=True))) if discrete else None,
    )
