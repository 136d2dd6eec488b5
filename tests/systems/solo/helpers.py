# SPDX-License-Identifier: Apache-2.0
"""A SOLO small enough for tests; its samples are those of R-CNN's tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.engine.trainer import Trainer
from ldie.nn.backbone import BackboneConfig
from ldie.systems.solo import SOLO, SYSTEM, SOLOConfig, SOLORecipe
from ldie.systems.solo.config import AssignConfig, HeadConfig, PostprocessConfig, SOLOModel, SOLOSolver
from ldie.tasks.detection import CocoDataset, Sample
from ldie.tasks.detection.batches import Batch, collate
from ldie.tasks.detection.whole_images import DataConfig, InputConfig
from systems.rcnn.helpers import facts_of, two_images

CLASSES = 3
CPU = torch.device("cpu")
LOSSES = {"loss_cls", "loss_mask"}
TERMS = {*LOSSES, "loss"}

SMALL = SOLOConfig(
    model=SOLOModel(
        num_classes=CLASSES,
        backbone=BackboneConfig(
            stem="conv3",
            stem_channel=16,  # of 8, 1 x 1 of stride 2, backward, oneDNN writes where it should not on some CPUs
            block="basic",
            blocks=(1, 1),
            widths=(16, 32),
            normalization="group",
            freeze_at=0,
            pyramid_channel=16,
        ),
        head=HeadConfig(grids=(8, 6, 4), strides=(8, 8, 16), convs=2, channel=32),
    ),
    solver=SOLOSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=2,
        max_iter=6,
        assign=AssignConfig(scale_ranges=((1, 20), (16, 28), (24, 1000))),
        data=DataConfig(shorter_sides=(64,), longest=64),
    ),
    input=InputConfig(shorter_side=64, longest=64, multiple=16),
    test=PostprocessConfig(nms_pre=40, min_area="none"),
)
"""Three levels in images of 64 x 64, of which the first is made coarser; no normalisation that makes an image depend on
others."""


def small_config(**sections: Any) -> SOLOConfig:
    """:data:`SMALL` with something else in it."""
    return merge(SMALL, sections)


def small_model(config: SOLOConfig = SMALL, **sections: Any) -> SOLO:
    """Of a configuration with something else in it, in evaluation mode."""
    torch.manual_seed(0)
    config = merge(config, sections)
    model = SOLO.from_config(config, facts_of(config))  # type: ignore[arg-type]
    return model.eval()


def small_recipe(precision: str = "none", config: SOLOConfig = SMALL, **sections: Any) -> SOLORecipe:
    """A recipe with its model, on the CPU and in training mode."""
    model = small_model(config, **sections)
    recipe = SOLORecipe(model, model.config, TrainingRuntime(CPU, precision))
    recipe.train_mode()
    return recipe


def batch_of(*samples: Sample) -> Batch:
    """These images as they are; those of :func:`two_images` without any."""
    return collate(samples or two_images(), SMALL.input.multiple)


def make_trainer(
    data: tuple[CocoDataset, CocoDataset], work_dir: Path, *, resume: bool = False, **sections: Any
) -> Trainer:
    """A run of the small system."""
    config = dataclasses.replace(small_config(**sections), output_dir=str(work_dir))
    return Trainer(SYSTEM, config, *data, CPU, resume)
