"""torchvision's detectors with random weights, and photographs with ground truth for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ldie.tasks.detection.coco import CocoDataset
from ldie.tasks.detection.masks import to_bitmaps
from ldie.tasks.detection.sample import Sample
from torch import Tensor, nn

#: Score thresholds at which random weights leave at least 50 detections an image.
THRESHOLDS: dict[str, dict[str, float]] = {
    "maskrcnn_resnet50_fpn": {"box_score_thresh": 0.02},
    "keypointrcnn_resnet50_fpn": {"box_score_thresh": 0.1},
    "fasterrcnn_mobilenet_v3_large_fpn": {"box_score_thresh": 0.0125},
    "retinanet_resnet50_fpn": {"score_thresh": 0.0105},
}
IMAGES = (129648, 790)  # of train2017: many objects, persons with keypoints among them

SMALL = {"rpn_pre_nms_top_n_train": 300, "rpn_pre_nms_top_n_test": 300, "rpn_post_nms_top_n_train": 200,
         "rpn_post_nms_top_n_test": 200, "box_batch_size_per_image": 128}  # fmt: skip

Results = dict[str, Tensor]


def build(name: str, images: list[Tensor], *, small: bool) -> nn.Module:
    """A detector with random weights, normalised by the statistics of these images as a trained one would be.

    A small one reads smaller images and has fewer proposals.
    """
    from torchvision.models import detection

    torch.manual_seed(0)
    options: dict[str, Any] = {"weights": None, "weights_backbone": None, **THRESHOLDS[name]}
    if small:
        options.update(min_size=192, max_size=320, **(SMALL if "rcnn" in name else {}))
    model = getattr(detection, name)(**options).to(images[0].dtype)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.backbone(model.transform(images)[0].tensors)
    for norm in norms:
        norm.momentum = 0.0  # so that a training step leaves no trace
    return model


def photographs(root: Path) -> list[Sample]:
    dataset = CocoDataset(root, "train2017")
    positions = {image.id: index for index, image in enumerate(dataset.images)}
    samples = [dataset[positions[image_id]] for image_id in IMAGES]
    return [sample.select(~sample.iscrowd) for sample in samples]


def target(name: str, sample: Sample) -> Results:
    """Ground truth in torchvision's form; keypoint detectors know persons only, and need their keypoints."""
    if name.startswith("keypoint"):
        assert sample.keypoints is not None
        sample = sample.select((sample.keypoints[..., 2] > 0).any(dim=1))
        return {"boxes": sample.boxes, "labels": torch.ones_like(sample.labels), "keypoints": sample.keypoints}
    assert sample.masks is not None
    masks = to_bitmaps(sample.masks, sample.size)
    return {"boxes": sample.boxes, "labels": sample.labels + 1, "masks": masks.to(torch.uint8)}


def detect(model: nn.Module, images: list[Tensor]) -> list[Results]:
    model.eval()
    with torch.no_grad():
        return model(images)


def train_step(model: nn.Module, images: list[Tensor], targets: list[Results]) -> tuple[Results, Results]:
    """Losses and the gradients of all parameters; the sampler draws the same numbers each time."""
    model.train()
    model.zero_grad()
    torch.manual_seed(1)
    losses = model(images, targets)
    sum(losses.values()).backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()}, {n: g.clone() for n, g in gradients.items()}
