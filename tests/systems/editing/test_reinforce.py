# SPDX-License-Identifier: Apache-2.0
"""Rewards, returns and baselines against plain references; the gradient against that of the expected return."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from ldie.engine.runtime import TrainingRuntime
from ldie.errors import ConfigError
from ldie.systems.editing.batch import EditBatch, collate, learnable
from ldie.systems.editing.config import (
    DecoderConfig,
    EditorConfig,
    EditorModel,
    EditorSolver,
    ImageConfig,
    LanguageConfig,
    ReinforceSolver,
)
from ldie.systems.editing.decoder import END
from ldie.systems.editing.episode import Episode, Levels, drawn, log_drawn, run_episode
from ldie.systems.editing.model import Editor
from ldie.systems.editing.objectives import reinforce
from ldie.systems.editing.objectives.reinforce import (
    Reinforce,
    allowed_tokens,
    decided_steps,
    discounted,
    distances,
    missing_entropy,
    missing_level_entropy,
    rewards,
)
from ldie.systems.editing.recipe import EditorRecipe
from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.sample import EditSample, EditSequence

from ldie_ext import EditOp

FACTS = {"operators": ["BRIGHTNESS", "CONTRAST"], "vocabulary": ["brighter", "contrast"], "max_steps": 2}
BASELINES = ["self_critical", "constant", "none"]


def configured(levels: int = 2, max_steps: int = 2, lr: float = 1e-2, explore: float = 0.2, **own: object):
    return EditorConfig(
        model=EditorModel(
            language=LanguageConfig(embedding=4, hidden=4, layers=1, dropout=0.0),
            image=ImageConfig(size=8, widths=(4, 8), blocks=0, code=8),
            decoder=DecoderConfig(embedding=4, levels=levels, max_steps=max_steps),
        ),
        solver=EditorSolver(training="reinforce", explore=explore, reinforce=ReinforceSolver(lr=lr, **own)),
    )


def made(config: EditorConfig, runtime: TrainingRuntime | None = None) -> EditorRecipe:
    torch.manual_seed(0)
    model = Editor.from_config(config, FACTS)
    return EditorRecipe(model, config, runtime or TrainingRuntime(torch.device("cpu")))


def batch_of(recipe: EditorRecipe, count: int, ops: tuple[EditOp, ...] = (EditOp.BRIGHTNESS,), value: float = 0.4):
    generator = torch.Generator().manual_seed(1)
    steps = EditSequence(torch.tensor(ops, dtype=torch.int64), torch.zeros(len(ops), 24))
    steps.params[:, 0] = value
    items = []
    for index in range(count):
        source = torch.randint(40, 160, (3, 8, 8), generator=generator, dtype=torch.uint8)
        sample = EditSample(str(index), source, "brighter", replayed(source, steps), None, steps)
        words = recipe.model.vocabulary.encode(sample.request, 15).ids
        items.append(learnable(sample, words, 8))
    return collate(items, recipe.model.operators)


def test_returns_are_discounted_sums_of_what_follows():
    gained = torch.randn(3, 4)
    for discount in (0.0, 0.7, 1.0):
        plain = [[sum(discount ** (k - t) * row[k] for k in range(t, 4)) for t in range(4)] for row in gained]
        torch.testing.assert_close(discounted(gained, discount), torch.tensor(plain))


def test_rewards_penalties_and_what_is_behind_END():
    tokens = torch.tensor([[2, 2, 3], [END, END, END], [1, END, END]])
    grey = torch.tensor([[0.5, 0.4, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5], [0.5, 0.7, 0.7, 0.7]])
    images = [column[:, None, None, None].expand(3, 3, 2, 2) for column in grey.unbind(1)]
    episode = Episode(tokens, tokens, torch.zeros(3, 3, 24), torch.zeros(3, 3, 4), images, None)
    away = distances(episode, torch.full((3, 3, 2, 2), 51, dtype=torch.uint8))
    torch.testing.assert_close(away, (grey - 0.2).abs())
    known = torch.tensor([[2, 1, END], [3, END, END], [1, END, END]])
    solver = ReinforceSolver(step_penalty=0.01, repeat_penalty=0.2, operator_reward=0.5, allow_repeats=True)
    expected = [[0.1 - 0.01 + 0.5, 0.1 - 0.01 - 0.2, -0.01], [0, 0, 0], [-0.2 - 0.01 + 0.5, 0, 0]]
    torch.testing.assert_close(rewards(away, tokens, known, solver), torch.tensor(expected))
    assert decided_steps(tokens).tolist() == [[True, True, True], [True, False, False], [True, True, False]]


def test_missing_entropy_is_zero_where_all_is_even_and_its_descent_spreads():
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [3.0, 0.0, 1.0], [5.0, -torch.inf, -torch.inf]])
    logits.requires_grad_()
    log_probs = logits.log_softmax(1)
    lacking = missing_entropy(log_probs)
    plain = torch.tensor(3.0).log() - torch.distributions.Categorical(logits=logits[1]).entropy()
    torch.testing.assert_close(lacking, torch.stack([torch.zeros(()), plain.detach(), torch.zeros(())]))
    (gradient,) = torch.autograd.grad(lacking.sum(), logits)
    assert gradient.isfinite().all()
    assert missing_entropy((logits - gradient).log_softmax(1))[1] < lacking[1]


def test_the_entropy_of_levels_is_the_mean_over_the_parameters_that_there_are():
    tokens = torch.tensor([[1, END]])
    logits = torch.randn(1, 2, 3, 4)
    used = torch.tensor([[[True, True, False], [False, False, False]]])
    levels = Levels(torch.zeros(1, 2, 3, dtype=torch.int64), logits.log_softmax(3), used)
    episode = Episode(tokens, tokens, torch.zeros(1, 2, 24), torch.zeros(1, 2, 3), [], None, levels)
    plain = torch.tensor(4.0).log() - torch.distributions.Categorical(logits=logits[0, 0, :2]).entropy().mean()
    torch.testing.assert_close(missing_level_entropy(episode), torch.stack([plain, torch.zeros(())])[None])
    assert not missing_level_entropy(replace(episode, levels=None)).any()


@pytest.mark.parametrize("explore", [0.0, 0.3, 1.0])
def test_the_probability_of_a_draw_is_that_with_which_it_is_drawn(explore):
    logits = torch.tensor([2.0, -torch.inf, 0.0, -1.0], requires_grad=True)
    log_probs = logits.log_softmax(0)
    allowed = torch.tensor([0, 2, 3])
    found = log_drawn(log_probs.expand(3, 4), allowed, explore)
    expected = (1 - explore) * logits.softmax(0)[allowed] + explore / 3
    torch.testing.assert_close(found.exp(), expected)
    assert torch.autograd.grad(found.sum(), logits)[0].isfinite().all()
    torch.manual_seed(0)
    draws = drawn(explore)(log_probs.detach().expand(2, 10_000, 4), 0)
    assert draws.shape == (2, 10_000)
    counts = draws.flatten().bincount(minlength=4) / 20_000
    assert counts[1] == 0
    torch.testing.assert_close(counts[allowed], expected.detach(), atol=0.015, rtol=0)


class Captured(TrainingRuntime):
    """Takes gradients, and no steps."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def apply(self, optimizer: torch.optim.Optimizer, clip: float = 0.0) -> None:
        """Leaves everything as it is."""


def forced(wanted: tuple[int, ...]):
    """Chooses these instead of drawing."""
    return lambda log_probs, step: torch.full(log_probs.shape[:-1], wanted[step])


def all_episodes():
    """Each pair (tokens, levels) that two operators with two levels and two steps without repeats allow."""
    for tokens in [(END, END), (1, END), (2, END), (1, 2), (2, 1)]:
        choices = [(0, 1) if token else (0,) for token in tokens]
        yield from ((tokens, levels) for levels in itertools.product(*choices))


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_expected_gradient_is_that_of_the_expected_return(monkeypatch, baseline):
    """Over all episodes: sum of p(episode) * gradient that it gives = gradient of the sum of p(episode) * return."""
    recipe = made(configured(baseline=baseline, entropy=0.0, explore=0.2, step_penalty=0.05), Captured())
    model, batch = recipe.model.eval(), batch_of(recipe, 1)
    weights = model.editor_parameters()
    mean = [torch.zeros_like(weight) for weight in weights]
    expected_return, total = torch.zeros(()), 0.0
    for tokens, levels in all_episodes():
        choosers = {0.2: forced(tokens), 0.0: forced(levels)}
        monkeypatch.setattr(reinforce, "drawn", choosers.get)
        recipe.load_resume_state({"mean_returns": torch.tensor([0.3, -0.2]), "batches": 9})
        recipe.train_step(batch, 0)
        language = model.read(batch.words)
        episode = run_episode(model, batch.source / 255, None, language, forced(tokens), levels=forced(levels))
        probability = torch.ones(())
        for step in range(2 if tokens[0] else 1):
            even = 1 / (3 - step)
            probability = probability * (0.8 * episode.log_probs[0, step, tokens[step]].exp() + 0.2 * even)
            if tokens[step]:
                level = episode.levels.log_probs[0, step, 0, levels[step]].exp()
                probability = probability * level
        target = batch.target / 255
        gain = (batch.source / 255 - target).abs().mean() - (episode.result - target).abs().mean()
        penalty = 0.05 * sum(token != END for token in tokens)
        expected_return = expected_return + probability * (gain - penalty)
        total += probability.item()
        for summed, weight in zip(mean, weights, strict=True):
            if weight.grad is not None:
                summed += probability.item() * weight.grad
    assert total == pytest.approx(1, abs=1e-5)
    exact = torch.autograd.grad(-expected_return, weights, allow_unused=True)
    exact = [torch.zeros_like(weight) if grad is None else grad for weight, grad in zip(weights, exact, strict=True)]
    assert max(grad.abs().max() for grad in exact) > 1e-3
    torch.testing.assert_close(mean, exact, atol=2e-6, rtol=1e-3)


def test_nothing_is_learned_where_the_greedy_episode_is_drawn(monkeypatch):
    recipe = made(configured(entropy=0.0), Captured())
    monkeypatch.setattr(reinforce, "drawn", lambda explore: reinforce.greedy)
    recipe.model.eval()
    terms = recipe.train_step(batch_of(recipe, 3), 0)
    assert terms["reward"] == terms["greedy_reward"] != 0
    assert terms["policy_loss"] == 0
    assert not any(weight.grad.any() for weight in recipe.model.editor_parameters() if weight.grad is not None)
    assert not recipe.model.training


@pytest.mark.parametrize("baseline", BASELINES)
def test_END_is_learned_where_every_step_does_harm(baseline):
    recipe = made(configured(baseline=baseline, entropy=0.0, levels=3))
    batch = batch_of(recipe, 16, ops=())
    torch.manual_seed(3)
    first = probability_of_END(recipe.model, batch)
    for step in range(25):
        recipe.train_mode()
        assert recipe.train_step(batch, step)["reward"] <= 0
    assert first < 0.6
    assert probability_of_END(recipe.model, batch) > 0.9


@torch.no_grad()
def probability_of_END(model: Editor, batch: EditBatch) -> float:
    model.eval()
    return model(batch.source / 255, batch.words).log_probs[:, 0, END].exp().mean().item()


def test_rewards_teach_the_parameter_of_an_operator_that_is_given():
    recipe = made(configured(levels=4, max_steps=1, given="order", step_penalty=0.0))
    batch = batch_of(recipe, 16, value=2 / 3)
    torch.manual_seed(0)
    curve = []
    for step in range(40):
        recipe.train_mode()
        curve.append(recipe.train_step(batch, step)["reward"].item())
    assert sum(curve[:5]) / 5 < 0 < sum(curve[-5:]) / 5
    recipe.model.eval()
    model, allowed = recipe.model, allowed_tokens(batch.tokens, "order", 2, 1)
    episode = run_episode(model, batch.source / 255, None, model.read(batch.words), allowed=allowed)
    assert episode.params[..., 0].unique().tolist() == [1.0]  # of -2, -1, 1 and 2


def test_only_what_is_given_is_drawn():
    recipe = made(configured(max_steps=3))
    batch = batch_of(recipe, 64, ops=(EditOp.CONTRAST,))
    model, images = recipe.model, batch.source / 255
    allowed = allowed_tokens(batch.tokens, "operators", 2, 3)
    tokens = run_episode(model, images, None, model.read(batch.words), drawn(1.0), allowed=allowed).tokens
    assert set(tokens.flatten().tolist()) == {END, 2}
    known = torch.tensor([[2, 1, 2, END], [1, END, END, END]]).repeat(32, 1)
    allowed = allowed_tokens(known, "order", 2, 3)
    episode = run_episode(model, images, None, model.read(batch.words), drawn(1.0), repeats=True, allowed=allowed)
    assert torch.equal(episode.tokens, known[:, :3])
    assert not episode.log_probs.gather(2, episode.tokens[..., None]).any()  # certain
    assert allowed_tokens(known[1:2, :2], "order", 2, 3).int().argmax(2).tolist() == [[1, END, END]]
    assert allowed_tokens(known, "nothing", 2, 3) is None


@pytest.mark.parametrize("given", ["operators", "order"])
def test_what_is_given_may_have_an_operator_twice(given):
    recipe = made(configured(max_steps=3, given=given))
    twice = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.BRIGHTNESS)
    terms = recipe.train_step(batch_of(recipe, 8, twice, 0.2), 0)
    assert all(term.isfinite() for term in terms.values())
    assert given != "order" or terms["steps"] == 3


def test_operators_come_twice_only_where_repeats_are_allowed():
    for repeats in (False, True):
        recipe = made(configured(levels=2, allow_repeats=repeats))
        recipe.model.eval()
        with torch.no_grad():
            recipe.model.decoder.choice.bias[1] = 50.0
        batch = batch_of(recipe, 2)
        tokens = recipe.model(batch.source / 255, batch.words).tokens
        assert (tokens == 1).sum(1).tolist() == [1 + repeats] * 2
    with pytest.raises(ConfigError, match="repeat_penalty must be 0 without"):
        configured(repeat_penalty=0.1).check()


def test_a_step_on_two_batches_has_their_mean_gradient():
    recipe = made(configured(), Captured())
    model, weights = recipe.model, recipe.model.editor_parameters()
    batch = batch_of(recipe, 8)
    halves = [replace(batch, source=batch.source[rows], target=batch.target[rows], words=batch.words[rows],
                      tokens=batch.tokens[rows], params=batch.params[rows], counts=batch.counts[rows])
              for rows in (slice(0, 4), slice(4, 8))]  # fmt: skip
    model.eval()
    torch.manual_seed(5)
    single = []
    for half in halves:
        recipe.train_step(half, 0)
        single.append([weight.grad.clone() for weight in weights if weight.grad is not None])
    torch.manual_seed(5)
    for index, half in enumerate(halves):
        with recipe.runtime.part(index, 2):
            recipe.train_step(half, 0)
    together = [weight.grad for weight in weights if weight.grad is not None]
    torch.testing.assert_close(together, [(a + b) / 2 for a, b in zip(*single, strict=True)])
    assert max(grad.abs().max() for grad in together) > 0


def test_steps_that_learn_from_rewards_have_rates_of_their_own():
    config = configured(lr=0.1, lr_schedule="step")
    recipe = made(replace(config, solver=replace(config.solver, lr_schedule="cosine", max_iter=10)))
    assert recipe.lr_factor("policy", 5) == 1
    assert recipe.lr_factor("editor", 5) == pytest.approx(0.5)
    assert recipe.optimizers["policy"].param_groups[0]["lr"] == 0.1


def test_known_steps_come_first():
    recipe = made(configured(warmup=2))
    batch = batch_of(recipe, 4)
    terms = [set(recipe.train_step(batch, step)) for step in range(4)]
    assert terms[0] == terms[1] == {"operator_loss", "parameter_loss"}
    assert terms[2] == terms[3] == {"policy_loss", "reward", "greedy_reward", "l1_gain", "steps", "missing_entropy"}


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(baseline):
    config = configured(baseline=baseline)
    whole, stopped, resumed = (made(config) for _ in range(3))
    batch = batch_of(whole, 4)
    torch.manual_seed(7)
    for step in range(4):
        terms = whole.train_step(batch, step)
    torch.manual_seed(7)
    for step in range(2):
        stopped.train_step(batch, step)
    resumed.model.load_state_dict(stopped.model.state_dict())
    for name, optimizer in stopped.optimizers.items():
        resumed.optimizers[name].load_state_dict(optimizer.state_dict())
    resumed.load_resume_state(stopped.resume_state())
    for step in range(2, 4):
        again = resumed.train_step(batch, step)
    assert {name: term.item() for name, term in terms.items()} == {name: term.item() for name, term in again.items()}
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_the_running_mean_follows_the_returns_of_each_step():
    recipe = made(configured(baseline="constant"))
    objective = Reinforce(recipe.model, recipe.config, recipe.runtime)
    decided = torch.tensor([[True, True], [True, False]])
    objective._follow(torch.tensor([[2.0, 4.0], [0.0, 9.0]]), decided)
    assert objective.resume_state()["mean_returns"].tolist() == [1.0, 4.0]
    objective._follow(torch.tensor([[3.0, 0.0], [3.0, 0.0]]), decided & torch.tensor([True, False]))
    assert objective.resume_state()["mean_returns"].tolist() == [2.0, 4.0]
