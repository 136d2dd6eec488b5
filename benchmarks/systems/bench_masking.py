"""What masking costs: a training step of CenterNet whose adversarial losses count cells in boxes only, or all cells.

Published logs have 0.586 s with masks and 0.508 s without, 15 % more. Here *composed* is the step without masks, so
a ratio of 0.95 means that masking adds 5 % to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import pytest
import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.centernet import SYSTEM
from ldie.systems.centernet.targets import ScaleBatch
from torch import Tensor

CLASSES, BOXES = 80, 7  # of an image, about COCO's mean


def random_batch(batch: int, sides: list[int], device: torch.device) -> list[ScaleBatch]:
    """Noise with boxes, the same ones at every scale."""
    corner = torch.rand(BOXES * batch, 2) * 0.7
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(BOXES * batch, 2) * 0.25], dim=1)
    labels = torch.randint(0, CLASSES, (BOXES * batch,))
    offsets = torch.arange(0, BOXES * batch + 1, BOXES)
    return [
        ScaleBatch(
            images=torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8).to(device),
            boxes=(boxes * side).to(device),
            labels=labels.to(device),
            offsets=offsets.to(device),
        )
        for side in sides
    ]


def training_step(
    preset: str, phase: str, device: torch.device, **discriminator: Any
) -> Callable[[], dict[str, Tensor]]:
    """A step of a fresh model, always of the same phase; it learns as it is called."""
    torch.manual_seed(0)
    config = merge(SYSTEM.preset(preset), {"model": {"num_classes": CLASSES, "discriminator": discriminator}})
    facts = SYSTEM.task.facts_without_data(config)
    model = SYSTEM.model.from_config(config, facts).to(device)
    recipe = SYSTEM.recipe(model, model.config, TrainingRuntime(device))
    recipe.train_mode()
    solver = config.solver
    sides = [ratio * solver.data.heatmap_size for ratio in config.model.down_ratios]
    batch = random_batch(solver.batch_size, sides, device)
    first = solver.detector.init_train_iter
    step = {"discriminator": first, "both": first + solver.discriminator.init_train_iter}[phase]
    return lambda: recipe.train_step(batch, step)


@pytest.mark.parametrize("phase", ["discriminator", "both"])
@pytest.mark.parametrize("preset", ["tiny", "full"])
def bench_masking(measure: harness.Measure, preset: str, phase: str) -> None:
    """Class-specific masks with the loss over their cells, as the presets have it, against none."""
    if measure.device.type == "cpu" and preset == "full":
        pytest.skip("a step of the published size takes minutes")
    masked = training_step(preset, phase, measure.device)
    plain = training_step(preset, phase, measure.device, masking=False)
    measure(f"step of preset {preset}, phase {phase}, composed without masks", ours=masked, composed=plain)
