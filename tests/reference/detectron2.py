# SPDX-License-Identifier: Apache-2.0
"""detectron2's inference of Mask and Keypoint R-CNN on a pyramid, in plain PyTorch: one image, region by region.

After GeneralizedRCNN, RPN, StandardROIHeads and their configurations of R_50_FPN. Networks are given as weights under
its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from reference.anchors import decode_boxes, detectron2_cells, level_anchors
from reference.paste import by_grid_sample
from reference.roi import multiscale_roi_align
from reference.suppression import batched_nms

PIXEL_MEAN = (103.530, 116.280, 123.675)  # blue, green, red; the standard deviations are 1
STRIDES = (4, 8, 16, 32, 64)
SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)
CLIP = float(np.log(1000 / 16))
PRE_NMS, POST_NMS, DETECTIONS = 1000, 1000, 100

Weights = Mapping[str, Tensor]


class Instances(NamedTuple):
    """In pixels of the image file."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor | None  # bool [N,H,W]
    keypoints: Tensor | None  # [N,K,3], the middle of pixel 0 at 0.5


def shortest_edge(height: int, width: int, edge: int, longest: int) -> tuple[int, int]:
    """ResizeShortestEdge."""
    scale = edge * 1.0 / min(height, width)
    new = (edge * 1.0, scale * width) if height < width else (scale * height, edge * 1.0)
    if max(new) > longest:
        scale = longest * 1.0 / max(new)
        new = new[0] * scale, new[1] * scale
    return int(new[0] + 0.5), int(new[1] + 0.5)


def network_input(image: Tensor, edge: int, longest: int) -> tuple[Tensor, tuple[int, int]]:
    """[1,3,H,W], filled up to multiples of 32, of RGB uint8 [3,h,w]; and the size before that."""
    size = shortest_edge(image.shape[1], image.shape[2], edge, longest)
    bgr = Image.fromarray(image.permute(1, 2, 0).numpy()[..., ::-1].copy())
    pixels = torch.from_numpy(np.asarray(bgr.resize(size[::-1], Image.Resampling.BILINEAR)).astype(np.float32))
    normal = pixels.permute(2, 0, 1) - torch.tensor(PIXEL_MEAN)[:, None, None]
    return F.pad(normal, (0, -size[1] % 32, 0, -size[0] % 32))[None], size


def frozen_conv(x: Tensor, w: Weights, name: str, stride: int = 1) -> Tensor:
    """A convolution without bias, and a batch norm of constants."""
    norm = [w[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    kernel = w[f"{name}.weight"]
    return F.batch_norm(F.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2), *norm, eps=1e-5)


def resnet(x: Tensor, w: Weights) -> list[Tensor]:
    """res2 ... res5, which halve in their first 1 x 1 convolution (STRIDE_IN_1X1)."""
    x = F.max_pool2d(F.relu(frozen_conv(x, w, "backbone.bottom_up.stem.conv1", 2)), 3, 2, 1)
    stages = []
    for stage in range(2, 6):
        blocks = {name.split(".")[3] for name in w if name.startswith(f"backbone.bottom_up.res{stage}.")}
        for block in range(len(blocks)):
            name, stride = f"backbone.bottom_up.res{stage}.{block}", 2 if block == 0 and stage > 2 else 1
            y = F.relu(frozen_conv(x, w, f"{name}.conv1", stride))
            y = frozen_conv(F.relu(frozen_conv(y, w, f"{name}.conv2")), w, f"{name}.conv3")
            x = F.relu(y + (frozen_conv(x, w, f"{name}.shortcut", stride) if block == 0 else x))
        stages.append(x)
    return stages


def conv(x: Tensor, w: Weights, name: str) -> Tensor:
    """A convolution with bias."""
    kernel = w[f"{name}.weight"]
    return F.conv2d(x, kernel, w[f"{name}.bias"], padding=kernel.shape[2] // 2)


def pyramid(stages: list[Tensor], w: Weights) -> list[Tensor]:
    """p2 ... p6."""
    top = conv(stages[-1], w, "backbone.fpn_lateral5")
    maps = [conv(top, w, "backbone.fpn_output5")]
    for level in (4, 3, 2):
        lateral = conv(stages[level - 2], w, f"backbone.fpn_lateral{level}")
        top = lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
        maps.insert(0, conv(top, w, f"backbone.fpn_output{level}"))
    return [*maps, F.max_pool2d(maps[-1], 1, 2, 0)]


def proposals(maps: list[Tensor], w: Weights, size: tuple[int, int]) -> Tensor:
    """find_top_rpn_proposals."""
    prefix = "proposal_generator.rpn_head."
    boxes, scores, levels = [], [], []
    for level, (features, stride, side) in enumerate(zip(maps, STRIDES, SIZES)):
        hidden = F.relu(conv(features, w, prefix + "conv"))
        logits = conv(hidden, w, prefix + "objectness_logits")[0].permute(1, 2, 0).flatten()
        deltas = conv(hidden, w, prefix + "anchor_deltas")[0].permute(1, 2, 0).reshape(-1, 4)
        grid = (features.shape[2], features.shape[3])
        anchors = level_anchors(detectron2_cells((side,), RATIOS), grid, (stride, stride), 0.0)
        best = logits.sort(descending=True, stable=True).indices[:PRE_NMS]
        boxes.append(decode_boxes(deltas[best], anchors[best], (1.0, 1.0, 1.0, 1.0), CLIP, size))
        scores.append(logits[best])
        levels.append(torch.full_like(best, level))
    box, score, level_of = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
    valid = nonempty(box)
    box, score, level_of = box[valid], score[valid], level_of[valid]
    return box[batched_nms(box, score, level_of, 0.7)[:POST_NMS]]


def nonempty(boxes: Tensor) -> Tensor:
    """Boxes.nonempty."""
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def pool(maps: list[Tensor], boxes: Tensor, size: int) -> Tensor:
    """ROIPooler with ROIAlignV2 and sampling ratio 0."""
    scales = [1 / stride for stride in STRIDES[:4]]
    return multiscale_roi_align(
        maps[:4], [0] * len(boxes), boxes, (size, size), scales, 0, aligned=True, rule="detectron2"
    )


def detections(maps: list[Tensor], boxes: Tensor, w: Weights, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """fast_rcnn_inference: boxes, scores, classes."""
    x = pool(maps, boxes, 7).flatten(1)
    for layer in ("fc1", "fc2"):
        x = F.relu(F.linear(x, w[f"roi_heads.box_head.{layer}.weight"], w[f"roi_heads.box_head.{layer}.bias"]))
    logits, deltas = (
        F.linear(x, w[f"roi_heads.box_predictor.{name}.weight"], w[f"roi_heads.box_predictor.{name}.bias"])
        for name in ("cls_score", "bbox_pred")
    )
    decoded = decode_boxes(deltas, boxes, (10.0, 10.0, 5.0, 5.0), CLIP, size).reshape(len(boxes), -1, 4)
    scores = logits.softmax(1)[:, :-1]
    region, label = (scores > 0.05).nonzero().unbind(1)
    found, score = decoded[region, label], scores[region, label]
    keep = batched_nms(found, score, label, 0.5)[:DETECTIONS]
    return found[keep], score[keep], label[keep]


def mask_probabilities(maps: list[Tensor], boxes: Tensor, labels: Tensor, w: Weights) -> Tensor:
    """mask_rcnn_inference: [N,28,28]."""
    x = pool(maps, boxes, 14)
    for index in range(1, 5):
        x = F.relu(conv(x, w, f"roi_heads.mask_head.mask_fcn{index}"))
    name = "roi_heads.mask_head.deconv"
    x = F.relu(F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2))
    return conv(x, w, "roi_heads.mask_head.predictor")[torch.arange(len(boxes)), labels].sigmoid()


def keypoints(maps: list[Tensor], boxes: Tensor, w: Weights) -> Tensor:
    """keypoint_rcnn_inference with heatmaps_to_keypoints: x, y, score."""
    x = pool(maps, boxes, 14)
    for index in range(1, 9):
        x = F.relu(conv(x, w, f"roi_heads.keypoint_head.conv_fcn{index}"))
    name = "roi_heads.keypoint_head.score_lowres"
    x = F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2, padding=1)
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    found = []
    for box, maps_of_box in zip(boxes, x):
        sides = (box[2:] - box[:2]).clamp(min=1)
        width, height = (int(side) for side in sides.ceil())
        large = F.interpolate(maps_of_box[None], size=(height, width), mode="bicubic", align_corners=False)[0]
        greatest, place = large.flatten(1).max(1)
        # both relative to the largest value of the map before it was enlarged
        top = maps_of_box.flatten(1).max(1).values
        score = (greatest - top).exp() / (maps_of_box - top[:, None, None]).exp().sum((1, 2))
        column, row = place % width, place // width
        xs = (column + 0.5) * (sides[0] / width) + box[0]
        ys = (row + 0.5) * (sides[1] / height) + box[1]
        found.append(torch.stack([xs, ys, score], 1))
    return torch.stack(found)


def infer(image: Tensor, w: Weights, edge: int = 800, longest: int = 1333) -> Instances:
    """GeneralizedRCNN.inference of a file's pixels, RGB uint8 [3,h,w], with detector_postprocess.

    Args:
        image: The file's pixels.
        w: Weights; there is a mask head or a keypoint head where there are weights for it.
        edge: MIN_SIZE_TEST.
        longest: MAX_SIZE_TEST.
    """
    pixels, size = network_input(image, edge, longest)
    maps = pyramid(resnet(pixels, w), w)
    boxes, scores, labels = detections(maps, proposals(maps, w, size), w, size)
    height, width = image.shape[1:]
    scale = torch.tensor([width / size[1], height / size[0]])
    scaled = (boxes * scale.repeat(2)).clamp(min=0)
    scaled = torch.minimum(scaled, torch.tensor([width, height]).repeat(2))
    kept = nonempty(scaled)
    masks = points = None
    if "roi_heads.mask_head.predictor.weight" in w:
        masks = by_grid_sample(mask_probabilities(maps, boxes, labels, w)[kept], scaled[kept], (height, width))
    if "roi_heads.keypoint_head.score_lowres.weight" in w:
        points = keypoints(maps, boxes, w)[kept] * torch.cat([scale, torch.ones(1)])
    return Instances(scaled[kept], scores[kept], labels[kept], masks, points)
