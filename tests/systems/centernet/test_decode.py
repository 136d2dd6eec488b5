"""Ground truth -> targets -> decode gives the ground truth back: AP 1.0 wherever centres do not collide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ldie.systems.centernet.config import PostprocessConfig
from ldie.systems.centernet.decode import Detections, decode_maps, merge_scales, rescale_boxes
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.targets import Crop, cell_targets, collate_crops
from ldie.tasks.detection import CocoDataset, Prediction, build_shapes
from ldie.tasks.detection.metrics import coco_metrics

import ldie_ext


def oracle_maps(crop: Crop, down_ratio: int, num_classes: int) -> Maps:
    """The maps of a detector that has learned its targets by heart."""
    batch = collate_crops([[crop]])[0]
    height, width = (-(-side // down_ratio) for side in crop.image.shape[1:])
    targets = cell_targets(batch, down_ratio, (height, width), max_objects=128)
    heatmap = ldie_ext.center_heatmap(targets.boxes, targets.labels, targets.offsets, num_classes, (height, width))
    maps = Maps(heatmap.logit(), torch.zeros(1, 2, height, width), torch.zeros(1, 2, height, width))
    valid = targets.centers.valid[0]
    cells = targets.centers.index[0, valid]
    maps.wh.view(2, -1)[:, cells] = targets.centers.wh[0, valid].T
    maps.offset.view(2, -1)[:, cells] = targets.centers.offset[0, valid].T
    return maps


def collides(crop: Crop, down_ratio: int) -> bool:
    """Whether two boxes have their centres in one cell: they share its size, and within a class its peak."""
    cells = ((crop.boxes[:, :2] + crop.boxes[:, 2:]) / 2 / down_ratio).long()
    return len(cells.unique(dim=0)) < len(cells)


def oracle_metrics(dataset: CocoDataset, down_ratio: int) -> tuple[dict[str, float], int]:
    """Metrics over the images without collisions, and the number of these images."""
    config = PostprocessConfig(nms=False)
    kept, predictions = [], {}
    for index in range(len(dataset)):
        sample = dataset[index]
        sample = sample.select(~sample.iscrowd & (sample.boxes[:, 2:] > sample.boxes[:, :2]).all(1))
        crop = Crop(sample.image, sample.boxes, sample.labels)
        if collides(crop, down_ratio):
            continue
        maps = oracle_maps(crop, down_ratio, len(dataset.class_names))
        found = merge_scales(decode_maps(maps, down_ratio), config)
        boxes = rescale_boxes(found.boxes, sample.size, sample.size)
        kept.append(index)
        predictions[sample.image_id] = Prediction(boxes, found.scores, found.labels, None, None, sample.size)
    return coco_metrics(dataset.subset(kept), predictions), len(kept)


@pytest.mark.parametrize("down_ratio", [1, 2, 4])
def test_oracle_on_shapes(down_ratio, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "oracle_shapes"
    metrics, images = oracle_metrics(CocoDataset(build_shapes(root, train=1, val=40), "val2017"), down_ratio)
    assert images >= 36
    assert metrics["bbox/AP"] == 1.0


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_oracle_on_photographs(split, photographs):
    metrics, images = oracle_metrics(CocoDataset(photographs, split), 4)
    assert images >= 30
    assert metrics["bbox/AP"] == 1.0


def test_peaks_become_boxes():
    maps = Maps(torch.full((1, 2, 4, 6), -9.0), torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 4, 6))
    maps.heatmap[0, 1, 2, 3] = 0.0
    maps.wh[0, :, 2, 3] = torch.tensor([2.0, 1.0])
    maps.offset[0, :, 2, 3] = torch.tensor([0.25, 0.5])
    best = decode_maps(maps, 4)[0]
    assert best.labels[0] == 1
    assert best.scores[0] == 0.5
    torch.testing.assert_close(best.boxes[0], torch.tensor([9.0, 8.0, 17.0, 12.0]))


def test_merge_keeps_the_best_over_all_scales_and_suppresses_across_classes():
    box = torch.tensor([[0.0, 0, 10, 10]])
    fine = Detections(box, torch.tensor([0.6]), torch.tensor([0]))
    coarse = Detections(torch.cat((box + 1, box + 50)), torch.tensor([0.9, 0.3]), torch.tensor([1, 1]))
    merged = merge_scales([fine, coarse], PostprocessConfig(nms_threshold=0.5))
    assert merged.scores.tolist() == pytest.approx([0.9, 0.3])
    assert merged.labels.tolist() == [1, 1]
    kept = merge_scales([fine, coarse], replace(PostprocessConfig(nms=False), max_objects=2))
    assert kept.scores.tolist() == pytest.approx([0.9, 0.6])


def test_rescaled_boxes_stay_inside():
    boxes = torch.tensor([[-4.0, 10, 30, 70]])
    torch.testing.assert_close(rescale_boxes(boxes, (64, 32), (32, 64)), torch.tensor([[0.0, 5, 60, 32]]))
