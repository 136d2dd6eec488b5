# SPDX-License-Identifier: Apache-2.0
"""A mask pyramid small enough for tests; its samples are those of R-CNN's tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.engine.trainer import Trainer
from ldie.nn.backbone import BackboneConfig
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramid, MaskPyramidConfig, MaskPyramidRecipe
from ldie.systems.mask_pyramid.config import (
    GrowthConfig,
    LossConfig,
    MaskConfig,
    MaskPyramidModel,
    MaskPyramidSolver,
    PostprocessConfig,
    ScoreConfig,
)
from ldie.systems.mask_pyramid.hypotheses import Seeds
from ldie.systems.mask_pyramid.truth import Truth
from ldie.tasks.detection import CocoDataset, Sample
from ldie.tasks.detection.batches import Batch, collate
from ldie.tasks.detection.whole_images import DataConfig, InputConfig
from systems.rcnn.helpers import facts_of, two_images
from torch import Tensor

CLASSES = 3
CPU = torch.device("cpu")
LEVELS = 3
COUNTS = {*(f"pyr_num_l{level}" for level in range(LEVELS)), "InstPyr_inst_count"}
LOSSES = {*(f"level_{level}" for level in range(LEVELS)), "class"}
TERMS = {"loss", *LOSSES, *COUNTS}

SMALL = MaskPyramidConfig(
    model=MaskPyramidModel(
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
        start_stride=16,
        last_stride=4,
        mask=MaskConfig(state_channel=16, init_kernel=3, block="bottleneck", gauss_radius=1.5),
        growth=GrowthConfig(max_alive=(16, 12, 10), newborns=(4, 3), low_thresh=0.3),
        score=ScoreConfig(convs=1, hidden=16),
    ),
    solver=MaskPyramidSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=2,
        max_iter=6,
        loss=LossConfig(masks=("ce", "dice")),
        data=DataConfig(shorter_sides=(64,), longest=64),
    ),
    input=InputConfig(shorter_side=64, longest=64, multiple=16),
    test=PostprocessConfig(score_thr=0.01, update_threshold=0.0),
)
"""Three levels, 4 x 4 to 16 x 16 in images of 64 x 64, of which the first is made of the backbone's coarsest."""
FIRST: dict[str, Any] = {"mask": {"generation": 1}}
"""Of the model: the first generation."""


def small_config(config: MaskPyramidConfig = SMALL, **sections: Any) -> MaskPyramidConfig:
    """A configuration with something else in it."""
    return merge(config, sections)


def small_model(config: MaskPyramidConfig = SMALL, **sections: Any) -> MaskPyramid:
    """Of a configuration with something else in it, in evaluation mode."""
    torch.manual_seed(0)
    config = merge(config, sections)
    model = MaskPyramid.from_config(config, facts_of(config))  # type: ignore[arg-type]
    return model.eval()


def small_recipe(precision: str = "none", config: MaskPyramidConfig = SMALL, **sections: Any) -> MaskPyramidRecipe:
    """A recipe with its model, on the CPU and in training mode."""
    model = small_model(config, **sections)
    recipe = MaskPyramidRecipe(model, model.config, TrainingRuntime(CPU, precision))
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


def seeds_of(alive: list[list[int]], objects: list[list[int]] | None = None, places: Tensor | None = None) -> Seeds:
    """Hypotheses of a few slots of each image, somewhere in 64 x 64 or at given places."""
    used = torch.tensor(alive, dtype=torch.bool)
    where = torch.rand(*used.shape, 2) * 64 if places is None else places
    births = torch.cat([where, torch.full((*used.shape, 1), 4.0)], 2)
    return Seeds(used.long() - 1, births, None if objects is None else torch.tensor(objects))


def seeds_at(places: list[list[tuple[float, float]]], radius: float = 24.0) -> Seeds:
    """Hypotheses alive at these places of each image, with regions of that radius in pixels."""
    where = torch.tensor(places, dtype=torch.float32)
    births = torch.cat([where, torch.full((*where.shape[:2], 1), radius)], 2)
    return Seeds(torch.zeros(where.shape[:2], dtype=torch.int64), births, torch.full(where.shape[:2], -1))


def truth_of(covered: list[Tensor], rows: list[list[int]], areas: list[int] | None = None) -> Truth:
    """Objects of which a cell is covered or not, on each level bool [G,h,w]; rows of each image."""
    count, most = len(covered[0]), max(map(len, rows))
    objects = torch.tensor([row + [-1] * (most - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), most)
    own = torch.tensor(areas) if areas else covered[-1].sum((1, 2)) * 16
    return Truth(
        objects, torch.arange(count) % CLASSES, own, own.float().sqrt(), covered, [each.float() for each in covered]
    )
