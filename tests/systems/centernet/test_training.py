"""Phases, separate gradients, logging, and training steps on ordinary and on empty images."""

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from ldie.contract import Progress
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.centernet.inputs import network_input
from systems.centernet.helpers import make_batch, make_sample, small_recipe
from torch._functorch import config

NETWORKS = {"extractors", "detector", "discriminator"}


def weights(recipe) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in recipe.model.named_parameters()}


def changed_networks(recipe, before: dict[str, torch.Tensor]) -> set[str]:
    return {
        name.split(".")[0] for name, old in before.items() if not torch.equal(old, recipe.model.get_parameter(name))
    }


@pytest.mark.parametrize(
    ("step", "networks", "losses"),
    [
        (0, NETWORKS - {"discriminator"}, {"total_loss"}),
        (1, NETWORKS - {"discriminator"}, {"total_loss"}),
        (2, {"discriminator"}, {"total_adv_loss"}),
        (3, {"discriminator"}, {"total_adv_loss"}),
        (4, NETWORKS, {"total_loss", "total_adv_loss"}),
    ],
)
def test_phases_train_the_right_networks(step, networks, losses):
    recipe = small_recipe()
    before = weights(recipe)
    terms = recipe.train_step(make_batch(recipe), step)
    assert changed_networks(recipe, before) == networks
    assert {name for name in terms if name.startswith("total")} == losses
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in terms.values())


def test_the_waiting_discriminators_loss_is_logged_and_changes_nothing():
    """In the step before a log line of the detector's phase; the published logs have it."""
    states = []
    for log_step in (1, 2):
        recipe = small_recipe(solver={"log_step": log_step})
        before = {name: value.clone() for name, value in recipe.model.discriminator.state_dict().items()}
        terms = recipe.train_step(make_batch(recipe), 0)
        assert ("total_adv_loss" in terms) == ("dis_adv_loss:2" in terms) == (log_step == 1)
        assert all(torch.equal(before[name], value) for name, value in recipe.model.discriminator.state_dict().items())
        assert all(module.training for module in recipe.model.modules())
        states.append(recipe.model.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_phase_three_logs_every_term_of_every_scale():
    recipe = small_recipe()
    terms = recipe.train_step(make_batch(recipe), 4)
    names = ("hm_loss", "wh_loss", "reg_loss", "det_adv_loss", "dis_adv_loss")
    assert set(terms) == {f"{name}:{scale}" for name in names for scale in range(3)} | {"total_loss", "total_adv_loss"}
    detector, discriminator = (
        torch.stack([terms[f"{name}:{scale}"] for scale in range(3)]) for name in ("det_adv_loss", "dis_adv_loss")
    )
    torch.testing.assert_close(detector, -discriminator)
    torch.testing.assert_close(terms["total_adv_loss"], 0.1 * discriminator.mean())


def test_adversarial_term_reaches_extractors_in_phase_three():
    updated = []
    for weight in (0.0, 5.0):
        recipe = small_recipe(solver={"detector": {"adv_loss_weight": weight}})
        recipe.train_step(make_batch(recipe), 4)
        updated.append(recipe.model.extractors["0"].exit[0].weight.detach().clone())
    assert not torch.equal(*updated)


@pytest.mark.parametrize(("alone", "network"), [(0, "detector"), (2, "discriminator")])
def test_gradients_of_the_two_losses_stay_apart(alone, network):
    """Without the adversarial term, phase 3 is phase 1 for the detector and phase 2 for the discriminator."""
    results = []
    for step in (alone, 4):
        recipe = small_recipe(solver={"detector": {"adv_loss_weight": 0.0}})
        recipe.train_step(make_batch(recipe), step)
        results.append(dict(getattr(recipe.model, network).named_parameters()))
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("step", [0, 2, 4])
def test_images_without_boxes_train(step):
    recipe = small_recipe()
    terms = recipe.train_step(make_batch(recipe, boxes=False), step)
    assert all(value.isfinite() for value in terms.values())
    for name in ("wh_loss:0", "reg_loss:1", "det_adv_loss:2", "dis_adv_loss:0"):
        assert terms.get(name, torch.zeros(())).item() == 0


@pytest.mark.parametrize("kind", ["skip", "resnet18"])
def test_cn_10_loss_decreases_on_one_batch(kind):
    recipe = small_recipe(
        model={"detector": {"type": kind, "widths": [8, 16]}}, solver={"detector": {"init_train_iter": 1000}}
    )
    batch = make_batch(recipe, count=4)
    losses = [recipe.train_step(batch, step)["total_loss"].item() for step in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize("step", [0, 2, 4])
def test_accumulated_over_equal_batches_a_step_is_that_of_one(step):
    """Both optimizers, in each phase; a batch that comes again changes no mean, whatever it is a mean of."""
    gradients = []
    for parts in (1, 3):
        recipe = small_recipe(model={"discriminator": {"normalization": "none"}})
        batch = make_batch(recipe)
        before = weights(recipe)
        for part in range(parts):
            with recipe.runtime.part(part, parts):
                recipe.train_step(batch, step)
            assert bool(changed_networks(recipe, before)) == (part == parts - 1)
        gradients.append({name: p.grad for name, p in recipe.model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("step", "gp", "networks"), [(4, False, NETWORKS), (2, True, NETWORKS - {"discriminator"})])
def test_compiled_networks_train_as_others(step, gp, networks):
    """With two optimizers on one graph, and with the gradient penalty's second derivatives."""
    terms = []
    for is_compiled in (False, True):
        recipe = small_recipe(model={"valid_scale": [0, 1]}, solver={"discriminator": {"gp": gp}})
        modules = {id(module): name for name, module in recipe.model.named_modules()}
        names = {modules[id(module)].split(".")[0] for module in recipe.compiled()}
        assert names == networks
        with patch.object(config, "donated_buffer", False):
            for module in recipe.compiled() if is_compiled else ():
                module.compile(backend="aot_eager", dynamic=False)
            torch.manual_seed(0)
            terms.append(recipe.train_step(make_batch(recipe), step))
            assert changed_networks(recipe, weights(small_recipe(model={"valid_scale": [0, 1]}))) >= {"discriminator"}
    torch.testing.assert_close(*terms, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "masking"), [("residual_wo_padding", True), ("style", False)])
@pytest.mark.parametrize("loss", ["wasserstein", "hinge"])
def test_every_discriminator_trains(kind, masking, loss):
    recipe = small_recipe(model={"discriminator": {"type": kind, "masking": masking}}, solver={"adv_loss_fn": loss})
    before = weights(recipe)
    terms = recipe.train_step(make_batch(recipe), 4)
    assert changed_networks(recipe, before) == NETWORKS
    assert all(value.isfinite() for value in terms.values())
    assert terms["dis_adv_loss:0"] != 0


def test_mixed_precision_trains():
    recipe = small_recipe(
        model={"detector": {"type": "resnet18", "widths": [8, 16]}}, solver={"discriminator": {"gp": True}}
    )
    recipe.runtime = TrainingRuntime(torch.device("cpu"), "bf16")
    before = weights(recipe)
    terms = recipe.train_step(make_batch(recipe), 4)
    assert changed_networks(recipe, before) == NETWORKS
    assert all(value.isfinite() for value in terms.values())


@pytest.mark.parametrize("fixed", ["detector", "extractor"])
@pytest.mark.parametrize("step", [0, 2, 4])
def test_fixed_weights_stay_with_their_statistics(fixed, step):
    recipe = small_recipe(solver={fixed: {"weight_fix": True}})
    network = {"detector": recipe.model.detector, "extractor": recipe.model.extractors["0"]}[fixed]
    free = {"detector": recipe.model.extractors["1"], "extractor": recipe.model.detector}[fixed]
    before, free_before = ({k: v.clone() for k, v in part.state_dict().items()} for part in (network, free))
    recipe.train_step(make_batch(recipe), step)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    if step != 2:
        assert any(not torch.equal(value, free_before[name]) for name, value in free.named_parameters())


def test_reconstruction_term():
    """Extractors that show images: 3 channels, whose distance from the reduced image is part of the loss."""
    values = {}
    for weight in (0.0, 2.0):
        recipe = small_recipe(
            model={"detector": {"image_input": True}}, solver={"detector": {"recon_loss_weight": weight}}
        )
        batch = make_batch(recipe)
        images = [network_input(scale.images, recipe.config.input) for scale in batch]
        features = [extractor(image).detach() for extractor, image in zip(recipe.model.extractors.values(), images)]
        values[weight] = terms = recipe.train_step(batch, 0)
        for scale, (part, image) in enumerate(zip(features, images)):
            reduced = torch.nn.functional.interpolate(image, (16, 16), mode="bilinear", antialias=True)
            assert part.shape == reduced.shape == (2, 3, 16, 16)
            torch.testing.assert_close(terms[f"recon_loss:{scale}"], (part - reduced).abs().mean())
        assert all(value.isfinite() for value in recipe.train_step(batch, 4).values())
    mean = torch.stack([values[2.0][f"recon_loss:{scale}"] for scale in range(3)]).mean()
    torch.testing.assert_close(values[2.0]["total_loss"] - values[0.0]["total_loss"], 2 * mean, rtol=1e-3, atol=1e-4)


def test_reconstruction_makes_features_look_like_images():
    recipe = small_recipe(
        model={"detector": {"image_input": True}},
        solver={"detector": {"init_train_iter": 1000, "lr": 5e-3, "recon_loss_weight": 10.0}},
    )
    batch = make_batch(recipe, count=4)
    losses = [recipe.train_step(batch, step)["recon_loss:2"].item() for step in range(60)]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_a_single_scale_trains():
    recipe = small_recipe(model={"valid_scale": [1]})
    terms = recipe.train_step(make_batch(recipe), 4)
    assert "hm_loss:1" in terms
    assert "hm_loss:0" not in terms


def test_state_dict_round_trip():
    recipe, other = small_recipe(), small_recipe(model={"num_classes": 3})
    recipe.train_step(make_batch(recipe), 4)
    sample = make_sample([], [])
    other.model.load_state_dict(recipe.model.state_dict())
    with torch.no_grad():
        first, second = (each.model.eval().predict([sample.image])[0] for each in (recipe, other))
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(first.scores, second.scores)


def test_cn_9_log_line_to_the_character():
    progress = Progress(
        step=50,
        max_step=900_000,
        seconds=25.678,
        trained_seconds=25.678,
        lr={"detector": 5e-4, "discriminator": 2.5e-4},
    )
    assert math.isclose(progress.eta_seconds, 462178.322)
    line = small_recipe().log_line(progress, {"total_loss": 864.1234567, "total_adv_loss": 1.4225})
    assert line == (
        "===> Iter: 0000050, LR: 0.000500, Cost: 25.68s, Eta: 5 days, 8:22:58, "
        "Detector Loss: 864.123457, Discriminator Loss: 1.422500"
    )


def test_cn_9_log_line_of_the_detector_phase():
    progress = Progress(step=1000, max_step=1000, seconds=1.0, trained_seconds=9.0, lr={"detector": 1.0})
    assert small_recipe().log_line(progress, {"total_loss": 7.08}) == (
        "===> Iter: 0001000, LR: 1.000000, Cost: 1.00s, Eta: 0:00:00, "
        "Detector Loss: 7.080000, Discriminator Loss: 0.000000"
    )
