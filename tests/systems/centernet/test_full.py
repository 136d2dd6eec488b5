"""One training step at the published size, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.recipe import CenterNetRecipe
from systems.centernet.helpers import make_sample, small_model


@pytest.fixture
def recipe() -> CenterNetRecipe:
    torch.set_num_threads(2)
    both = {"detector": {"init_train_iter": 0}, "discriminator": {"init_train_iter": 0}}
    model = small_model(merge(PRESETS["full"], {"solver": both}))
    recipe = CenterNetRecipe(model, model.config, TrainingRuntime(torch.device("cpu")))
    recipe.train_mode()
    return recipe


@pytest.mark.slow
def test_a_full_training_step_of_batch_two(recipe):
    """Three extractors, deformable detector, discriminator: every weight learns."""
    image = torch.randint(0, 256, (3, 600, 600), dtype=torch.uint8)
    sample = make_sample(
        [[300 - side, 300 - side, 300 + side, 300 + side] for side in (20, 60, 200)], [0, 79, 3], image
    )
    rng = np.random.default_rng(0)
    batch = recipe.collate([recipe.transform(sample, rng) for _ in range(2)])
    assert [tuple(scale.images.shape) for scale in batch] == [(2, 3, side, side) for side in (512, 256, 128)]
    before = {name: parameter.detach().clone() for name, parameter in recipe.model.named_parameters()}
    terms = recipe.train_step(batch, 0)
    assert all(value.isfinite() for value in terms.values())
    assert {"total_loss", "total_adv_loss", "det_adv_loss:2", "hm_loss:0"} <= set(terms)
    for name, parameter in recipe.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
