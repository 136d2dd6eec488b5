"""A CenterNet small enough for tests, and samples made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.model import CenterNet
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.recipe import CenterNetRecipe
from ldie.systems.centernet.targets import CellTargets, ScaleBatch, cell_targets
from ldie.tasks.detection import CocoDataset, Sample, build_shapes

CLASSES = 3


def small_config(**sections: dict) -> CenterNetConfig:
    """The tiny preset with narrow networks, crops of 64, 32 and 16 pixels, and one step per phase boundary."""
    config = merge(
        PRESETS["tiny"],
        {
            "model": {
                "num_classes": CLASSES,
                "detector": {"input_channel": 8, "widths": [8, 8], "head_channel": 8},
                "discriminator": {"hidden_channel": 8, "blocks": 1},
            },
            "solver": {
                "batch_size": 2,
                "max_iter": 6,
                "warmup_iter": 0,
                "detector": {"init_train_iter": 2},
                "discriminator": {"init_train_iter": 2},
                "data": {"heatmap_size": 16},
            },
        },
    )
    return merge(config, sections)


def facts_of(config: CenterNetConfig) -> dict[str, list]:
    """What the detection task would say of data with so many classes."""
    numbers = range(config.model.num_classes)
    return {"classes": [str(i) for i in numbers], "category_ids": list(numbers)}


def small_model(config: CenterNetConfig | None = None) -> CenterNet:
    config = config or small_config()
    return CenterNet.from_config(config, facts_of(config))


def small_recipe(**sections: dict) -> CenterNetRecipe:
    """A recipe with its model, on the CPU and in training mode."""
    torch.manual_seed(0)
    model = small_model(small_config(**sections))
    recipe = CenterNetRecipe(model, model.config, TrainingRuntime(torch.device("cpu")))
    recipe.train_mode()
    return recipe


def make_sample(boxes: list[list[float]], labels: list[int], image: torch.Tensor | None = None, **fields) -> Sample:
    """A sample of noise with these boxes; ``fields`` replace those of the dataclass."""
    if image is None:
        image = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    sample = Sample(
        image=image,
        image_id=1,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        iscrowd=torch.zeros(len(labels), dtype=torch.bool),
        masks=None,
        keypoints=None,
        size=(image.shape[1], image.shape[2]),
        file_name="1.png",
    )
    return replace(sample, **fields)


def make_targets(batch: int = 2, size: int = 16, seed: int = 0) -> CellTargets:
    """Random boxes on a size x size map, up to four on an image, overlapping across classes."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 5, (batch,), generator=generator)
    total = int(counts.sum())
    corners = torch.rand(total, 2, generator=generator) * size * 0.6
    sides = 1 + torch.rand(total, 2, generator=generator) * size * 0.5
    scale_batch = ScaleBatch(
        images=torch.zeros(batch, 3, size, size, dtype=torch.uint8),
        boxes=torch.cat((corners, corners + sides), 1),
        labels=torch.randint(0, CLASSES, (total,), generator=generator),
        offsets=torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0))),
    )
    return cell_targets(scale_batch, 1, (size, size), max_objects=8)


def make_batch(recipe: CenterNetRecipe, count: int = 2, boxes: bool = True) -> list[ScaleBatch]:
    """A training batch of one image, cropped anew for every entry."""
    rng = np.random.default_rng(0)
    sample = make_sample([[8, 8, 24, 28], [30, 20, 44, 36]], [0, 2]) if boxes else make_sample([], [])
    return recipe.collate([recipe.transform(sample, rng) for _ in range(count)])


def make_shapes(folder: Path) -> tuple[CocoDataset, CocoDataset]:
    """A few generated images to train and to evaluate on."""
    root = build_shapes(folder / "shapes", train=6, val=3, size=64)
    return CocoDataset(root, "train2017"), CocoDataset(root, "val2017")
