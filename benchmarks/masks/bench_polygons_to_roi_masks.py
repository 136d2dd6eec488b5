"""polygons_to_roi_masks: 128 mask targets of 28 x 28, against pycocotools as detectron2 uses it."""

from __future__ import annotations

import harness
import numpy as np
import torch
from harness import pycoco
from masks.outlines import outlines
from torch import Tensor

import ldie_ext

SIZE = 28


def by_pycocotools(instances: list[list[list[float]]], boxes: Tensor) -> Tensor:
    masks = []
    for parts, box in zip(instances, boxes.numpy()):
        points = np.array(parts[0])
        points[0::2] = (points[0::2] - box[0]) * (SIZE / max(box[2] - box[0], 0.1))
        points[1::2] = (points[1::2] - box[1]) * (SIZE / max(box[3] - box[1], 0.1))
        masks.append(pycoco.decode(pycoco.merge(pycoco.frPyObjects([points.tolist()], SIZE, SIZE))))
    return torch.from_numpy(np.stack(masks).astype(bool))


def bench_polygons_to_roi_masks(measure: harness.Measure) -> None:
    instances = outlines(128)
    points = [np.array(parts[0]).reshape(-1, 2) for parts in instances]
    boxes = torch.tensor(np.array([[*p.min(0), *p.max(0)] for p in points]), dtype=torch.float32)
    polygons, device_boxes = ldie_ext.Polygons.from_coco(instances).to(measure.device), boxes.to(measure.device)
    measure(
        f"128 RoIs, {SIZE}x{SIZE}",
        ours=lambda: ldie_ext.polygons_to_roi_masks(polygons, device_boxes, SIZE),
        host_peer=pycoco and (lambda: by_pycocotools(instances, boxes)),
        read_bytes=harness.bytes_of(polygons, device_boxes),
    )
