# SPDX-License-Identifier: Apache-2.0
"""Learning against the discriminator: losses, whose gradients go where, an exact resume."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.learner import Learner
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.editing import SYSTEM, EditorRecipe
from ldie.systems.editing.discriminator import Judgement
from ldie.systems.editing.episode import drawn, run_episode
from ldie.systems.editing.losses import pictures_between
from ldie.systems.editing.objectives.adversarial import feature_distance, score_loss
from systems.editing.helpers import FACTS, batch, samples, tiny_config, tiny_editor
from torch import Tensor, nn

SMALL = {"scales": 2, "widths": [4, 6], "text": 5, "hidden": 7}
CPU = torch.device("cpu")


def recipe(training: str = "gan", gan: dict[str, Any] | None = None, **solver: Any) -> EditorRecipe:
    solver = {"training": training, "gan": gan or {}, "warmup_iter": 0, **solver}
    model = tiny_editor(model={"discriminator": SMALL}, solver=solver)
    made = EditorRecipe(model, model.config, TrainingRuntime(CPU))
    made.train_mode()
    return made


def judgements(sizes: tuple[int, ...] = (4, 3)) -> list[Judgement]:
    return [Judgement(torch.randn(2, 1, n, n), tuple(torch.randn(2, 3, n + k, n) for k in range(5))) for n in sizes]


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of the parts that have learned."""
    return {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("real", [True, False])
def test_losses_of_scores_are_torchs(real: bool) -> None:
    torch.manual_seed(0)
    judged = judgements()
    for kind, plain in (("lsgan", nn.functional.mse_loss), ("vanilla", nn.functional.binary_cross_entropy_with_logits)):
        expected = sum(plain(each.scores, torch.full_like(each.scores, float(real))) for each in judged)
        torch.testing.assert_close(score_loss(judged, real, kind), expected)


def test_only_patches_in_the_region_count() -> None:
    """The left half of the first picture, a single pixel of the second, and nothing of the third."""
    scores = torch.arange(48.0).reshape(3, 1, 4, 4)
    regions = torch.zeros(3, 8, 8, dtype=torch.bool)
    regions[0, :, :4], regions[1, 7, 7] = True, True
    judged = [Judgement(scores, ())]
    expected = (scores[0, 0, :, :2].square().mean() + scores[1, 0, 3, 3].square() + 0) / 3
    torch.testing.assert_close(score_loss(judged, False, "lsgan", regions), expected)
    everywhere = torch.ones_like(regions)
    torch.testing.assert_close(score_loss(judged, True, "vanilla", everywhere), score_loss(judged, True, "vanilla"))


def test_feature_matching_is_the_weighted_distance_of_all_layers_towards_the_real_ones() -> None:
    torch.manual_seed(0)
    fake, real = judgements(), judgements()
    expected = sum(
        (4 / 4) * (1 / 2) * nn.functional.l1_loss(found, wanted)  # three convolutions of stride 2, two scales
        for mine, theirs in zip(fake, real)
        for found, wanted in zip(mine.features, theirs.features)
    )
    for each in real:
        each.features[0].requires_grad_()
    torch.testing.assert_close(feature_distance(fake, real), expected)
    assert not feature_distance(fake, real).requires_grad


@pytest.mark.parametrize("training", ["gan", "adapt_gan"])
@pytest.mark.parametrize("loss", ["lsgan", "vanilla"])
def test_a_step_learns_what_its_losses_say(training: str, loss: str) -> None:
    """Against the losses written out, with the same draws; the gradients are those of autograd on each side alone."""
    made = recipe(training, {"loss": loss, "weight": 0.5, "feature_matching": 3.0}, gradient_clip=0.0)
    model, data = made.model, batch(made.model)
    torch.manual_seed(1)
    source, target = data.source / 255, data.target / 255
    result = run_episode(model, source, data.regions, model.read(data.words), drawn(0.05)).result
    network = model.discriminator
    text = network.read(data.words)
    fake, real = network(source, result, text), network(source, target, text)
    editor = 0.5 * score_loss(fake, True, loss) + 3 * feature_distance(fake, real)
    critic = score_loss(real, True, loss)
    if training == "adapt_gan":
        planned = network(source, pictures_between(data, model.codes)[:, -1], text)
        critic = 0.5 * critic + 0.5 * score_loss(planned, True, loss)
    critic = 0.5 * (critic + score_loss(network(source, result.detach(), text), False, loss))
    sides = ((editor, model.editor_parameters()), (critic, list(network.parameters())))
    expected = [torch.autograd.grad(value, side, retain_graph=True, allow_unused=True) for value, side in sides]

    torch.manual_seed(1)
    terms = made.train_step(data, 1)
    assert set(terms) == {"gan_loss", "matching_loss", "discriminator_loss", "l1"}
    assert not any(term.requires_grad for term in terms.values())
    torch.testing.assert_close(terms["gan_loss"] + terms["matching_loss"], editor.detach())
    torch.testing.assert_close(terms["discriminator_loss"], critic.detach())
    torch.testing.assert_close(terms["l1"], (result - target).abs().mean().detach())
    for (_, side), gradients in zip(sides, expected):
        for parameter, gradient in zip(side, gradients):
            found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            wanted = torch.zeros_like(parameter) if gradient is None else gradient
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_where_no_steps_are_known_the_target_alone_is_real() -> None:
    """A source that nothing was done to is no example of a request carried out."""
    known, unknown = samples()[:2]
    unknown = replace(unknown, steps=None)
    terms = []
    for training in ("gan", "adapt_gan"):
        made = recipe(training)
        torch.manual_seed(0)
        terms.append(made.train_step(batch(made.model, [unknown, unknown]), 1))
    torch.testing.assert_close(*terms)
    for training in ("gan", "adapt_gan"):
        made = recipe(training)
        torch.manual_seed(0)
        planned = replace(known, target=255 - known.target)
        terms.append(made.train_step(batch(made.model, [planned, unknown]), 1))
    assert terms[2]["gan_loss"] == terms[3]["gan_loss"]
    assert terms[2]["discriminator_loss"] != terms[3]["discriminator_loss"]


def test_nothing_is_learned_from_the_draws() -> None:
    """What chooses operators has no gradient; what decides their parameters has."""
    made = recipe()
    made.train_step(batch(made.model), 1)
    decoder = made.model.decoder
    assert decoder.choice.weight.grad is None or not decoder.choice.weight.grad.any()
    assert all(parameter.grad.any() for parameter in decoder.mix.parameters())
    assert made.model.language.embedding.words.grad.any()


def test_steps_take_turns_and_sides_stay_apart() -> None:
    made = recipe()
    data = batch(made.model)
    every = {"language", "images", "decoder"}
    before = weights(made.model)
    assert set(made.train_step(data, 0)) == {"operator_loss", "parameter_loss"}
    assert changed(made.model, before) == every
    assert set(made.optimizers) == {"editor", "generator", "discriminator"}
    for off, parts in (("discriminator", every), ("generator", {"discriminator"})):
        before, group = weights(made.model), made.optimizers[off].param_groups[0]
        rate, group["lr"] = group["lr"], 0.0
        made.train_step(data, 1)
        assert changed(made.model, before) == parts
        group["lr"] = rate


def test_rates_are_those_of_the_section() -> None:
    made = recipe(gan={"lr": 3e-4, "lr_schedule": "step", "lr_decay": [5], "warmup_iter": 0}, lr_schedule="cosine")
    groups = [made.optimizers[name].param_groups[0] for name in ("generator", "discriminator")]
    assert [(group["lr"], group["betas"]) for group in groups] == [(3e-4, (0.5, 0.999))] * 2
    assert made.lr_factor("discriminator", 6) == pytest.approx(0.1)
    assert made.lr_factor("editor", 0) == 1


def test_a_masked_step_does_not_look_outside_of_regions() -> None:
    results = []
    for masked in (True, False):
        made = recipe(gan={"masked": masked})
        torch.manual_seed(0)
        results.append(made.train_step(batch(made.model), 1))
    assert results[0]["gan_loss"] != results[1]["gan_loss"]
    assert results[0]["matching_loss"] == results[1]["matching_loss"]


def test_with_perceptual_weights_the_distance_is_a_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss itself is tested with its network; here a distance takes its place."""
    opened = []

    class Distance(nn.Module):
        def __init__(self, path: Path) -> None:
            super().__init__()
            opened.append(path)

        def forward(self, pictures: Tensor, targets: Tensor) -> Tensor:
            return (pictures - targets).abs().mean()

    monkeypatch.setattr("ldie.systems.editing.objectives.adversarial.PerceptualLoss", Distance)
    made = recipe(gan={"perceptual": 10.0, "perceptual_weights": str(tmp_path / "vgg.pth")})
    terms = made.train_step(batch(made.model), 1)
    torch.testing.assert_close(terms["perceptual_loss"], 10 * terms["l1"])
    assert opened == [tmp_path / "vgg.pth"]
    assert not any("perceptual" in name for name in made.model.state_dict())


@pytest.mark.parametrize("training", ["gan", "adapt_gan"])
@pytest.mark.parametrize("stop", [2, 3])
def test_a_resume_is_exact(training: str, stop: int, tmp_path: Path) -> None:
    """Through the files of a run; six steps with dropout, in which both sides learn three times."""
    config = tiny_config(
        model={"discriminator": SMALL, "language": {"dropout": 0.3}}, solver={"training": training, "max_iter": 6}
    )

    def learner() -> Learner:
        return Learner(SYSTEM, config, FACTS, TrainingRuntime(CPU))

    def run(made: Learner, first: int, last: int) -> Learner:
        data = batch(made.model)
        for step in range(first, last):
            made.step(repeat(data), step)
        return made

    straight = run(learner(), 0, 6)
    stopped, file = run(learner(), 0, stop), tmp_path / "step.safetensors"
    checkpoint.save_weights(file, stopped.result.state_dict(), checkpoint.Header("editing", {}, FACTS, stop))
    checkpoint.save_resume(checkpoint.resume_path(file), stopped.state_dict())
    torch.manual_seed(7)
    resumed = learner()
    resumed.load_state_dict(
        checkpoint.load_resume(checkpoint.resume_path(file)), checkpoint.load_weights(file)[1], str(file)
    )
    run(resumed, stop, 6)
    torch.testing.assert_close(
        [resumed.result.state_dict(), resumed.state_dict()],
        [straight.result.state_dict(), straight.state_dict()],
        rtol=0,
        atol=0,
    )
    assert not torch.equal(*(made.model.discriminator.text[1].running_mean for made in (straight, stopped)))
