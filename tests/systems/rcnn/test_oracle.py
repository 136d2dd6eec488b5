# SPDX-License-Identifier: Apache-2.0
"""What the targets keep of the truth: targets made of it, decoded by the code of inference, and evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ldie.systems.rcnn.batch import collate
from ldie.systems.rcnn.postprocess import image_keypoints
from ldie.systems.rcnn.presets import TINY
from ldie.tasks.detection import CocoDataset, Prediction, Sample, build_shapes
from ldie.tasks.detection.metrics import coco_metrics
from torch import Tensor

import ldie_ext

MASK, HEATMAP = 2 * TINY.model.mask_head.pool, 4 * TINY.model.keypoint_head.pool


def decoded(sample: Sample) -> Prediction:
    """The objects of a sample but for crowds, each from a region that is a little off."""
    batch = collate([sample.select(~sample.iscrowd)], 32)
    assert batch.masks is not None and batch.keypoints is not None
    boxes, rows = batch.boxes, torch.arange(len(batch.boxes))
    regions = boxes + (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2) * torch.tensor([0.1, -0.1, 0.05, 0.1])
    weights = TINY.model.box_head.weights
    boxes = ldie_ext.decode_boxes(ldie_ext.encode_boxes(boxes, regions, weights), regions, weights)
    size = sample.size
    drawn = batch.masks.in_boxes(boxes, rows, MASK)
    pasted = ldie_ext.paste_masks(drawn.float(), boxes, size, convention="detectron2", packed=True)
    return Prediction(
        boxes=boxes,
        scores=torch.ones(len(boxes)),
        labels=batch.labels,
        masks=ldie_ext.rle_encode(pasted, packed_width=size[1]),
        keypoints=image_keypoints(heatmaps(batch.keypoints, boxes), boxes, torch.ones(2), TINY.test, "detectron2"),
        size=size,
    )


def heatmaps(keypoints: Tensor, boxes: Tensor) -> Tensor:
    """Logits that have their greatest value in each keypoint's target cell."""
    index, _ = ldie_ext.keypoint_targets(keypoints + torch.tensor([0.5, 0.5, 0.0]), boxes, (HEATMAP, HEATMAP))
    one = torch.nn.functional.one_hot(index, HEATMAP**2).float()
    return 10 * one.unflatten(2, (HEATMAP, HEATMAP))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    root: Path = tmp_path_factory.mktemp("shapes")
    build_shapes(root, seed=0)
    return CocoDataset(root, "val2017")


def test_targets_keep_the_truth(shapes: CocoDataset) -> None:
    samples = [shapes[i] for i in range(len(shapes))]
    metrics = coco_metrics(shapes, {sample.image_id: decoded(sample) for sample in samples})
    assert metrics["bbox/AP"] == pytest.approx(1.0, abs=1e-9)
    assert metrics["segm/AP"] >= 0.97
    assert metrics["keypoints/AP"] >= 0.99
