"""The gradient penalty against its formula, and what it does to the discriminator in training."""

from __future__ import annotations

import pytest
import torch
from ldie.systems.centernet.config import DiscriminatorConfig
from ldie.systems.centernet.discriminator import build_discriminator
from ldie.systems.centernet.gradient_penalty import gradient_penalty
from systems.centernet.helpers import make_batch, small_recipe
from torch import nn


def quadratic(x: torch.Tensor) -> torch.Tensor:
    return x.square() / 2


def test_slope_of_a_linear_critic_is_known():
    """A critic 3 x has the slope 3 sqrt(n) everywhere, n values per image."""
    features = [torch.randn(2, 4, 5, 5) for _ in range(3)]
    penalty = gradient_penalty(lambda x: 3 * x, features)
    assert penalty.item() == pytest.approx((3 * 10 - 1) ** 2)


def test_points_lie_between_the_scales_of_each_pair():
    """Between constants 1 and 3 the slope of x^2 / 2 is 1..3 times sqrt(n); each image draws its own point."""
    features = [torch.full((500, 1, 2, 2), value) for value in (1.0, 3.0)]
    shares = []
    for pair in (features, features[::-1]):
        torch.manual_seed(1)
        shares.append(gradient_penalty(quadratic, pair))
    uniform = torch.linspace(1, 3, 10_001)
    assert shares[0].item() == pytest.approx((2 * uniform - 1).square().mean().item(), rel=0.05)
    assert shares[0] != shares[1]
    same = [torch.ones(1, 1, 2, 2)] * 2
    assert gradient_penalty(quadratic, same).item() == pytest.approx(1)


def test_mean_over_all_pairs():
    constants = [torch.full((1, 1, 1, 1), value) for value in (2.0, 2.0, 2.0)]
    assert gradient_penalty(quadratic, constants).item() == pytest.approx(1)
    seen = []

    def critic(x):
        seen.append(x.detach().clone())
        return x

    gradient_penalty(critic, [torch.full((1, 1, 1, 1), value) for value in (0.0, 10.0, 100.0)])
    assert len(seen) == 3
    assert seen[0] <= 10 and seen[1] <= 100 and 10 <= seen[2] <= 100


def test_a_flat_critic_has_a_gradient():
    weight = torch.zeros(1, requires_grad=True)
    penalty = gradient_penalty(lambda x: weight * x, [torch.ones(2, 1, 2, 2)] * 2)
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert weight.grad.isfinite().all()


def without_kinks(network: nn.Module) -> nn.Module:
    """The network with smooth activations: finite differences across a kink tell nothing."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.LeakyReLU):
                setattr(parent, name, nn.Softplus())
    return network


@pytest.mark.parametrize("kind", ["residual", "residual_wo_padding", "style"])
def test_second_derivatives_by_finite_differences(kind):
    config = DiscriminatorConfig(type=kind, hidden_channel=4, blocks=1, normalization="none", masking=False)
    network = without_kinks(build_discriminator(config, 3, 3).double())
    features = [torch.randn(2, 3, 9, 9, dtype=torch.float64) for _ in range(2)]

    def penalty() -> torch.Tensor:
        torch.manual_seed(0)
        return gradient_penalty(network, features)

    parameters = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    gradients = torch.autograd.grad(penalty(), parameters)
    for parameter, gradient in zip(parameters, gradients):
        direction = torch.randn_like(parameter)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
            values.append(penalty().item())
            with torch.no_grad():
                parameter.add_(direction, alpha=-step)
        slope = (values[0] - values[1]) / 2e-6
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-3, abs=1e-6)


def test_training_step_logs_and_uses_it():
    results = {}
    for weight in (0.0, 100.0):
        settings = {"gp": True, "gp_weight": weight, "adv_loss_weight": 0.0}
        recipe = small_recipe(solver={"discriminator": settings})
        terms = recipe.train_step(make_batch(recipe), 2)
        assert terms["gradient_penalty"] > 0
        torch.testing.assert_close(terms["total_adv_loss"], weight * terms["gradient_penalty"])
        results[weight] = recipe.model.discriminator[0][0].weight.detach().clone()
    assert not torch.equal(*results.values())


def test_extractors_do_not_feel_it():
    results = []
    for gp in (False, True):
        recipe = small_recipe(solver={"discriminator": {"gp": gp, "gp_weight": 100.0}})
        recipe.train_step(make_batch(recipe), 4)
        results.append(recipe.model.extractors["0"].exit[0].weight.detach().clone())
    torch.testing.assert_close(*results)


def test_repeated_steps_bring_the_slope_to_one():
    recipe = small_recipe(
        model={"discriminator": {"normalization": "none"}},
        solver={
            "detector": {"init_train_iter": 0},
            "discriminator": {
                "init_train_iter": 1000,
                "gp": True,
                "gp_weight": 1.0,
                "adv_loss_weight": 0.0,
                "lr": 3e-3,
            },
        },
    )
    batch = make_batch(recipe)
    penalties = [recipe.train_step(batch, step)["gradient_penalty"].item() for step in range(40)]
    assert penalties[-1] < 0.2 * penalties[0]
