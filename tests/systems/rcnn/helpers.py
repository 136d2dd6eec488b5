"""A Mask and Keypoint R-CNN small enough for tests, and samples made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.engine.trainer import Trainer
from ldie.nn.backbone import BackboneConfig
from ldie.systems.rcnn import RCNN, SYSTEM, RCNNRecipe
from ldie.systems.rcnn.batch import Batch, collate
from ldie.systems.rcnn.config import (
    BoxHeadConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    ProposalConfig,
    RCNNConfig,
    RCNNModel,
    RCNNSolver,
)
from ldie.tasks.detection import CocoDataset, Sample, build_shapes
from ldie.tasks.detection.whole_images import DataConfig, InputConfig
from torch import Tensor

import ldie_ext

CLASSES, POINTS = 3, 4
CPU = torch.device("cpu")
PARTS = ("backbone", "proposal_generator", "roi_heads")
PROPOSAL_LOSSES = {"rpn_cls_loss", "rpn_loc_loss"}
HEAD_LOSSES = {"cls_loss", "loc_loss", "mask_loss", "keypoint_loss"}

SMALL = RCNNConfig(
    model=RCNNModel(
        num_classes=CLASSES,
        num_keypoints=POINTS,
        convention="detectron2",
        sampling_ratio=2,
        canonical_scale=56,
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
        proposals=ProposalConfig(
            anchor_sizes=((16,), (28,), (48,)),
            anchor_ratios=(1.0,),
            anchor_offset=0.5,
            samples=32,
            pre_nms_train=60,
            pre_nms_test=60,
            post_nms_train=40,
            post_nms_test=40,
        ),
        box_head=BoxHeadConfig(channel=32, samples=16, positive_fraction=0.5),
        mask_head=MaskHeadConfig(convs=1, channel=16, pool=7),
        keypoint_head=KeypointHeadConfig(enabled=True, convs=1, channel=16, pool=7),
    ),
    solver=RCNNSolver(
        optimizer="adamw",
        lr=2e-3,
        batch_size=2,
        max_iter=6,
        data=DataConfig(shorter_sides=(64,), longest=64),
    ),
    input=InputConfig(shorter_side=64, longest=64, multiple=16),
)
"""All heads, images of 64 x 64, no normalisation that makes an image depend on others."""


def small_config(**sections: dict[str, Any]) -> RCNNConfig:
    """:data:`SMALL` with something else in it."""
    return merge(SMALL, sections)


def facts_of(config: RCNNConfig, points: int = POINTS) -> dict[str, list[Any]]:
    """What the detection task would say of data with so many classes and keypoints."""
    numbers = range(config.model.num_classes)
    return {
        "classes": [str(number) for number in numbers],
        "category_ids": list(numbers),
        "keypoints": [f"point {number}" for number in range(points)],
        "flip_pairs": [],
        "skeleton": [],
    }


def small_recipe(precision: str = "none", **sections: dict[str, Any]) -> RCNNRecipe:
    """A recipe with its model, on the CPU and in training mode."""
    torch.manual_seed(0)
    config = small_config(**sections)
    model = RCNN.from_config(config, facts_of(config))
    recipe = RCNNRecipe(model, model.config, TrainingRuntime(CPU, precision))
    recipe.train_mode()
    return recipe


def gradients(recipe: Any, *batches: Any) -> dict[str, Tensor]:
    """Of a step on these batches, by name; of a recipe of any system."""
    for part, batch in enumerate(batches):
        with recipe.runtime.part(part, len(batches)):
            recipe.train_step(batch, 0)
    return {name: weight.grad for name, weight in recipe.model.named_parameters() if weight.grad is not None}


def squares(*corners: tuple[int, int, int], image_id: int = 1, **fields: Any) -> Sample:
    """Noise with bright squares, each of ``x, y, side``; label, mask and keypoints (its corners) follow from it."""
    image = torch.randint(0, 64, (3, 64, 64), generator=torch.Generator().manual_seed(image_id), dtype=torch.uint8)
    for x, y, side in corners:
        image[side % 3, y : y + side, x : x + side] = 255
    x, y, side = torch.tensor(corners, dtype=torch.float32).reshape(-1, 3).unbind(1)
    boxes = torch.stack([x, y, x + side, y + side], 1)
    outlines = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].tolist()
    points = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].view(-1, 4, 2) + torch.tensor([[1, 1], [-2, 1], [-2, -2], [1, -2]])
    sample = Sample(
        image=image,
        image_id=image_id,
        boxes=boxes,
        labels=(side % CLASSES).long(),
        iscrowd=torch.zeros(len(corners), dtype=torch.bool),
        masks=ldie_ext.Polygons.from_coco([[outline] for outline in outlines]),
        keypoints=torch.cat([points, torch.full((len(corners), 4, 1), 2.0)], 2),
        size=(64, 64),
        file_name=f"{image_id}.png",
    )
    return dataclasses.replace(sample, **fields)


def two_images() -> list[Sample]:
    """Four objects."""
    return [squares((6, 8, 20), (34, 30, 24)), squares((20, 4, 30), (4, 40, 16), image_id=2)]


def no_objects(image_id: int = 3) -> Sample:
    """Noise."""
    return squares(image_id=image_id)


def run_lengths(sample: Sample) -> Sample:
    """The sample with its masks in the other form."""
    return dataclasses.replace(sample, masks=ldie_ext.polygons_to_rle(sample.masks, (64, 64)))


def one_crowd() -> Sample:
    """A crowd as the only object, in run lengths as COCO has them."""
    return run_lengths(squares((8, 8, 40), image_id=5, iscrowd=torch.tensor([True])))


def without_area() -> Sample:
    """A point, two lines, one of them beyond the border, and one square."""
    sample = squares((10, 10, 20), (5, 5, 9), (30, 30, 9), (40, 8, 9), image_id=6)
    for row, box in ((1, [5, 5, 5, 5]), (2, [30, 30, 50, 30]), (3, [70, 8, 80, 30])):
        sample.boxes[row] = torch.tensor(box, dtype=torch.float32)
    return sample


def batch_of(*samples: Sample) -> Batch:
    """These images as they are; those of :func:`two_images` without any."""
    return collate(samples or two_images(), SMALL.input.multiple)


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Its weights and buffers as they are now."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def changed_parts(model: torch.nn.Module, before: dict[str, Tensor]) -> set[str]:
    """The parts of a model in which some weight or statistic is another one than before."""
    after = model.state_dict()
    return {name.partition(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}


def is_finite(recipe: RCNNRecipe, terms: dict[str, Tensor]) -> bool:
    """Whether no term and no weight is infinite or not a number."""
    return all(bool(value.isfinite().all()) for value in (*terms.values(), *recipe.model.state_dict().values()))


def make_shapes(folder: Path, **options: int) -> tuple[CocoDataset, CocoDataset]:
    """A few generated images to train and to evaluate on."""
    root = build_shapes(folder / "shapes", **{"train": 6, "val": 3, "size": 64, **options})
    return CocoDataset(root, "train2017"), CocoDataset(root, "val2017")


def make_trainer(
    data: tuple[CocoDataset, CocoDataset], work_dir: Path, *, resume: bool = False, **sections: dict[str, Any]
) -> Trainer:
    """A run of the small system."""
    config = dataclasses.replace(small_config(**sections), output_dir=str(work_dir))
    return Trainer(SYSTEM, config, *data, CPU, resume)
