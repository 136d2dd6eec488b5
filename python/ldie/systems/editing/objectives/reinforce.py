# SPDX-License-Identifier: Apache-2.0
"""Learning from rewards alone: REINFORCE (Williams 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from ldie.contract import Runtime
from ldie.nn.language import LanguageCode
from ldie.systems.editing.batch import EditBatch
from ldie.systems.editing.config import EditorConfig, ReinforceSolver
from ldie.systems.editing.decoder import END
from ldie.systems.editing.episode import Choose, Episode, drawn, greedy, log_drawn, run_episode
from ldie.systems.editing.model import Editor
from ldie.systems.editing.objectives.objective import Objective

_SLOWEST = 0.05
"""Least weight of a batch in the running mean; before that it is the mean of all batches."""


class Reinforce(Objective):
    """Draws episodes, and makes likelier what brought the picture nearer to the target than a baseline did.

    The reward of step t is d(I_{t-1}, target) - d(I_t, target), d the mean absolute difference, with what
    :class:`ReinforceSolver` adds and takes off. END earns nothing, so it is better than a step that does harm, and an
    episode without it ends at ``decoder.max_steps``; steps behind END are not learned from. With G_t the discounted sum
    of the rewards from t on and b the baseline, the loss is the mean over episodes of

        sum over t of -(G_t - b) log p(a_t) + entropy (log n_t - H_t) + level_entropy (log L - mean of H'_t),

    p the probability with which the operator, exploration included, and the levels of its parameters were *drawn*, H
    the entropy of the operators' probabilities without exploration, n the number of those to choose from, H' those of
    the L levels. So with ``discount`` 1 what is climbed is exactly the expected return of the policy that explores; no
    draw needs a weight for having come from another policy.

    Baselines: ``self_critical`` compares whole episodes, G_1 with that of the greedy episode (Rennie et al., CVPR 2017,
    arXiv:1612.00563; in eval mode, as it will be used), for all steps alike; ``constant`` is a running mean of G_t for
    each t, of the batches before this one; ``none`` is 0.

    Several processes have running means of their own.
    """

    def __init__(self, model: Editor, config: EditorConfig, runtime: Runtime) -> None:
        super().__init__(model, config, runtime)
        self._mean = torch.zeros(config.model.decoder.max_steps, device=runtime.device)
        self._batches = 0
        self._optimizer = Adam(model.editor_parameters(), config.solver.reinforce.lr)

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """See :attr:`Objective.optimizers`: the editor's in these steps."""
        return {"policy": self._optimizer}

    def is_due(self, step: int) -> bool:
        """See :meth:`Objective.is_due`: always, once the warm-up is over."""
        return step >= self.config.solver.reinforce.warmup

    def train_step(self, batch: EditBatch, editor: Optimizer) -> dict[str, Tensor]:
        """See :meth:`Objective.train_step`; ``editor`` learns in supervised steps only."""
        solver = self.config.solver
        own = solver.reinforce
        with self.runtime.autocast():
            episode = self._episode(batch, self.model.read(batch.words), drawn(solver.explore), drawn(0.0))
        away = distances(episode, batch.target)
        gained = rewards(away, episode.tokens, batch.tokens, own)
        decided = decided_steps(episode.tokens)
        returns = discounted(gained, own.discount)
        terms = {
            "reward": gained.sum(1).mean(),
            "l1_gain": (away[:, 0] - away[:, -1]).mean(),
            "steps": (episode.tokens != END).sum(1).float().mean(),
        }
        if own.baseline == "self_critical":
            greedily = self._greedy_episode(batch)
            compared = rewards(distances(greedily, batch.target), greedily.tokens, batch.tokens, own)
            advantages = (returns - discounted(compared, own.discount))[:, :1].expand_as(returns)
            terms["greedy_reward"] = compared.sum(1).mean()
        elif own.baseline == "constant":
            advantages = returns - self._mean
            self._follow(returns, decided)
        else:
            advantages = returns
        lacking = missing_entropy(episode.log_probs)
        terms["missing_entropy"] = (lacking.detach() * decided).sum() / decided.sum()
        collapse = own.entropy * lacking + own.level_entropy * missing_level_entropy(episode)
        losses = collapse - advantages * log_followed(episode, solver.explore)
        loss = (losses * decided).sum(1).mean()
        self.runtime.update(self._optimizer, loss, solver.gradient_clip)
        return {"policy_loss": loss.detach(), **terms}

    def _episode(self, batch: EditBatch, language: LanguageCode, choose: Choose, levels: Choose) -> Episode:
        own, steps = self.config.solver.reinforce, self.config.model.decoder.max_steps
        return run_episode(
            self.model,
            batch.source.float() / 255,
            batch.regions,
            language,
            choose,
            levels=levels,
            repeats=own.allow_repeats or own.given == "order",
            allowed=allowed_tokens(batch.tokens, own.given, len(self.model.operators), steps),
        )

    @torch.no_grad()
    def _greedy_episode(self, batch: EditBatch) -> Episode:
        training = self.model.training
        self.model.eval()
        with self.runtime.autocast():
            episode = self._episode(batch, self.model.read(batch.words), greedy, greedy)
        self.model.train(training)
        return episode

    def _follow(self, returns: Tensor, decided: Tensor) -> None:
        """Moves the running mean of each step towards the batch's, where it has such a step."""
        self._batches += 1
        count = decided.sum(0)
        means = (returns * decided).sum(0) / count.clamp(min=1)
        weight = max(1 / self._batches, _SLOWEST)
        self._mean = torch.where(count > 0, self._mean.lerp(means, weight), self._mean)

    def resume_state(self) -> dict[str, Any]:
        """See :meth:`ldie.contract.Recipe.resume_state`: the running mean."""
        return {"mean_returns": self._mean.cpu(), "batches": self._batches}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """See :meth:`ldie.contract.Recipe.load_resume_state`."""
        self._mean, self._batches = state["mean_returns"].to(self.runtime.device), state["batches"]


@torch.no_grad()
def distances(episode: Episode, target: Tensor) -> Tensor:
    """Mean absolute differences [B, T + 1] of the source and of the picture after each step from uint8 targets."""
    wanted = target.float() / 255
    return torch.stack([(image.float() - wanted).abs().mean((1, 2, 3)) for image in episode.images], 1)


def rewards(away: Tensor, tokens: Tensor, known: Tensor, solver: ReinforceSolver) -> Tensor:
    """What each step earns [B, T]; END and what is behind it 0.

    Args:
        away: [B, T + 1], see :func:`distances`.
        tokens: int64 [B, T], the steps.
        known: int64 [B, K], the true ones.
        solver: What is added and taken off.
    """
    repeated = (tokens[:, :, None] == tokens[:, None]).tril(-1).any(2)
    right = (tokens[:, :, None] == known[:, None]).any(2) & ~repeated
    gained = away[:, :-1] - away[:, 1:] - solver.step_penalty
    gained = gained + solver.operator_reward * right - solver.repeat_penalty * repeated
    return gained * (tokens != END)


def decided_steps(tokens: Tensor) -> Tensor:
    """Which steps of int64 [B, T] were decided: all up to and with the first END."""
    ends = (tokens == END).cumsum(1)
    return ends - (tokens == END).long() == 0


def discounted(gained: Tensor, discount: float) -> Tensor:
    """Returns [B, T] of rewards [B, T]: G_t = r_t + discount G_{t+1}."""
    returns, later = [], torch.zeros_like(gained[:, 0])
    for now in reversed(gained.unbind(1)):
        later = now + discount * later
        returns.append(later)
    return torch.stack(returns[::-1], 1)


def allowed_tokens(known: Tensor, given: str, operators: int, steps: int) -> Tensor | None:
    """What may be drawn where the truth is ``given``: bool [B, steps, 1 + operators]; None: anything.

    Args:
        known: int64 [B, K + 1], tokens of the true steps, each row with an END behind them.
        given: ``nothing``, ``operators`` or ``order``.
        operators: How many there are.
        steps: Of an episode at most.
    """
    if given == "nothing":
        return None
    if given == "operators":
        return _sets(known, operators + 1)[:, None].expand(-1, steps, -1)
    order = nn.functional.pad(known, (0, max(0, steps - known.shape[1])), value=END)[:, :steps]
    return nn.functional.one_hot(order, operators + 1).bool()


def _sets(tokens: Tensor, count: int) -> Tensor:
    """Whether each of ``count`` tokens is in a row of int64 [B, K]: bool [B, count]."""
    return nn.functional.one_hot(tokens, count).any(1)


def log_followed(episode: Episode, explore: float) -> Tensor:
    """Logarithmic probability [B, T] with which each step's operator and parameters were drawn."""
    chosen = log_drawn(episode.log_probs, episode.tokens, explore)
    if episode.levels is None:
        return chosen
    levels = log_drawn(episode.levels.log_probs, episode.levels.chosen, 0.0)
    return chosen + (levels * episode.levels.used).sum(2)


def missing_entropy(log_probs: Tensor) -> Tensor:
    """How much less than the largest an entropy is, log n - H.

    Args:
        log_probs: [..., C], n of which are not minus infinity.

    Returns:
        [...]; 0 where the n probabilities are even.
    """
    allowed = log_probs > -torch.inf
    finite = log_probs.masked_fill(~allowed, 0.0)
    return (finite.exp() * finite * allowed).sum(-1) + allowed.sum(-1).log()


def missing_level_entropy(episode: Episode) -> Tensor:
    """The mean of :func:`missing_entropy` [B, T] over the parameters of each step; 0 where it has none."""
    if episode.levels is None:
        return torch.zeros_like(episode.params[..., 0])
    used = episode.levels.used
    return (missing_entropy(episode.levels.log_probs) * used).sum(2) / used.sum(2).clamp(min=1)
