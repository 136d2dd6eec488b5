# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from ldie.errors import ConfigError
from ldie.systems.editing.episode import drawn, run_episode
from ldie.systems.editing.losses import parameter_errors, pictures_between, supervised_losses
from ldie.tasks.editing.reading import preview, small_region
from ldie.tasks.editing.replay import after_each_step, replayed
from ldie.tasks.editing.sample import EditInput
from systems.editing.helpers import FACTS, OPERATORS, SIZE, batch, sample, samples, steps, tiny_config, tiny_editor

from ldie_ext import EditOp


def test_pictures_between_are_those_of_the_known_steps() -> None:
    model = tiny_editor()
    given = samples()
    found = pictures_between(batch(model, given), model.codes)
    for row, each in enumerate(given):
        expected = after_each_step(each.source, each.steps, each.region).float() / 255
        torch.testing.assert_close(found[row, : len(expected)], expected, atol=0.51 / 255, rtol=0)


def test_padding_does_not_change_what_is_learned() -> None:
    """Attention leaves padding out, and steps behind END do not count: a batch is the mean of its samples."""
    model = tiny_editor().eval()
    given = samples()
    together = supervised_losses(model, batch(model, given), model.read(batch(model, given).words))
    alone = [supervised_losses(model, b, model.read(b.words)) for b in (batch(model, [each]) for each in given)]
    decided = torch.tensor([len(each.steps) + 1.0 for each in given])
    for name, weights in (("operator_loss", decided), ("parameter_loss", decided - 1)):
        mean = sum(w * losses[name] for w, losses in zip(weights, alone)) / weights.sum()
        torch.testing.assert_close(together[name], mean)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("lstm", [True, False])
@pytest.mark.parametrize("image", [True, False])
def test_an_episode_that_takes_the_known_steps_has_their_likelihood(attention: bool, lstm: bool, image: bool) -> None:
    """Teacher forcing and episodes are the same network: given the choices and parameters, so are the probabilities."""
    model = tiny_editor(model={"decoder": {"attention": attention, "lstm": lstm}, "image": {"enabled": image}}).eval()
    given = batch(model)

    class Forced:
        decoder, codes = model.decoder, model.codes
        step = -1

        def see(self, images: torch.Tensor, regions: torch.Tensor | None) -> torch.Tensor | None:
            self.step += 1
            return model.see(images, regions)

        def parameters_of(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return given.params[:, self.step]

    episode = run_episode(
        Forced(),
        given.source.float() / 255,
        given.regions,
        model.read(given.words),
        lambda log_probs, step: given.tokens[:, step],
        repeats=True,
    )
    shown = batch(model, samples()[:3])  # the fourth has no END within three steps
    losses = supervised_losses(model, shown, model.read(shown.words))
    total = sum(
        -episode.log_probs[row, step, shown.tokens[row, step]].item()
        for row, length in enumerate(shown.counts.tolist())
        for step in range(length + 1)
    )
    assert total / float((shown.counts + 1).sum()) == pytest.approx(losses["operator_loss"].item(), rel=1e-4)
    torch.testing.assert_close(episode.result[:3], pictures_between(shown, model.codes)[:, -1], atol=1e-5, rtol=0)


def test_no_operator_comes_twice_and_nothing_follows_the_end() -> None:
    model = tiny_editor().eval()
    torch.manual_seed(0)
    images = torch.rand(64, 3, SIZE, SIZE)
    words = model.vocabulary.encode("brighter and vivid").ids.expand(64, -1)
    episode = run_episode(model, images, None, model.read(words), drawn(1.0))
    for tokens in episode.tokens.tolist():
        taken = [token for token in tokens if token]
        assert len(set(taken)) == len(taken)
        assert tokens == taken + [0] * (3 - len(taken))
    assert (episode.tokens == 0).any()
    ended = episode.tokens[:, 0] == 0
    assert torch.equal(episode.result[ended], images[ended])
    torch.testing.assert_close(episode.attention.sum(2), torch.ones(64, 3))


def test_gradients_of_the_result_reach_every_network() -> None:
    model = tiny_editor()
    given = batch(model)
    torch.manual_seed(1)
    episode = run_episode(model, given.source.float() / 255, given.regions, model.read(given.words), drawn(1.0))
    (episode.result - given.target.float() / 255).abs().mean().backward()
    for network in (model.language, model.images, model.decoder.parameters_of, model.decoder.mix):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert model.decoder.choice.weight.grad is None  # which operator is drawn is not learned from the picture


def test_parameter_errors_count_an_operators_own_parameters_and_curves_by_their_ratios() -> None:
    found, wanted = torch.zeros(4, 24), torch.zeros(4, 24)
    found[0, 0], wanted[0, 0] = 0.5, 0.2
    found[1, :8], wanted[1, :8] = 3.0, 1.0  # the same curve
    found[2, :8], wanted[2, :8] = 1.0, torch.tensor([2.0, 1, 1, 1, 1, 1, 1, 0])
    found[3] = 7.0
    errors = parameter_errors(found, wanted, torch.tensor([1, 3, 3, 0]), OPERATORS)
    torch.testing.assert_close(errors, torch.tensor([0.09, 0.0, 2 / 8, 0.0]))


def test_predictions_are_edits_of_the_whole_picture_decided_on_a_preview() -> None:
    model = tiny_editor(seed=3).eval()
    with torch.no_grad():
        model.decoder.choice.bias[1] += 10  # brightness first, whatever the request
    picture = torch.randint(256, (3, 45, 70), dtype=torch.uint8)
    region = torch.zeros(45, 70, dtype=torch.bool)
    region[10, 20] = True
    with torch.no_grad():
        everywhere, there = model.predict(
            [EditInput(picture, "much brighter zebra"), EditInput(picture, "much brighter zebra", region)]
        )
    assert everywhere.steps.ops[0] == EditOp.BRIGHTNESS
    assert everywhere.image is None  # many predictions are kept at a time
    assert not torch.equal(replayed(picture, everywhere.steps), picture)
    changed = (replayed(picture, there.steps, region) != picture).any(0)
    assert not (changed & ~region).any()
    assert everywhere.words == ("much", "brighter", "zebra")
    torch.testing.assert_close(everywhere.attention.sum(1), torch.ones(len(everywhere.steps)))


def test_one_of_several_is_predicted_as_if_it_were_alone() -> None:
    model = tiny_editor(seed=3).eval()
    inputs = [EditInput(each.source, each.request, each.region) for each in samples()]
    with torch.no_grad():
        together = model.predict(inputs)
        for alone, other in zip(inputs, together):
            (found,) = model.predict([alone])
            assert torch.equal(found.steps.ops, other.steps.ops)
            torch.testing.assert_close(found.steps.params, other.steps.params)


def test_small_regions_do_not_vanish_in_the_preview() -> None:
    region = torch.zeros(200, 300, dtype=torch.bool)
    region[77, 201] = True
    assert small_region(region, 8).sum() == 1
    assert small_region(None, 8) is None
    assert preview(torch.full((3, 1, 500), 7, dtype=torch.uint8), 8).unique().tolist() == [7]


@pytest.mark.parametrize("switch", ["language", "image"])
def test_what_is_switched_off_is_not_looked_at(switch: str) -> None:
    model = tiny_editor(seed=3, model={switch: {"enabled": False}}).eval()
    first, second = samples()[0], samples()[2]
    other = {"language": second.request, "image": first.request}[switch]
    picture = {"language": first.source, "image": second.source}[switch]
    with torch.no_grad():
        found, same = model.predict([EditInput(first.source, first.request), EditInput(picture, other)])
    assert torch.equal(found.steps.ops, same.steps.ops)
    torch.testing.assert_close(found.steps.params, same.steps.params)
    if switch == "language":
        assert (found.words, found.attention) == ((), None)


def test_an_empty_request_is_one() -> None:
    model = tiny_editor().eval()
    with torch.no_grad():
        (found,) = model.predict([EditInput(samples()[0].source, "!?")])
    assert found.words == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"solver": {"training": "gan"}}, "discriminator.scales must be at least 1"),
        ({"model": {"discriminator": {"scales": 2}}}, "discriminator.scales must be 0"),
        ({"model": {"image": {"enabled": False}, "language": {"enabled": False}}}, "must be true"),
        ({"model": {"image": {"size": 2}}}, "model.image.size must be at least 4 for 2 stages, got 2"),
    ],
)
def test_keys_that_do_not_fit_together(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_editor(**values)


def test_sequences_of_no_steps_can_be_learned() -> None:
    model = tiny_editor()
    given = batch(model, [sample("pale", steps(), 1), sample("pale", steps(), 2)])
    losses = supervised_losses(model, given, model.read(given.words))
    assert losses["parameter_loss"] == 0
    assert torch.isfinite(losses["operator_loss"])
    assert tiny_config().model.decoder.max_steps == 3
    assert FACTS["operators"]
