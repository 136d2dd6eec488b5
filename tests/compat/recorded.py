"""What torchvision computed, kept in torchvision.npz, so that every run compares with it where it is not installed.

``PYTHONPATH=.:tests python -m compat.recorded``, in an environment that has torchvision, records anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from op_checks import random_boxes
from torch import Tensor

import ldie_ext
from ldie_ext.compat import torchvision as compat

PATH = Path(__file__).with_name("torchvision.npz")
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Case:
    """One computation with torchvision's names: `call` gets them as `ops`, from either side.

    Attributes:
        inputs: makes the tensors that were recorded.
        call: the results on them.
        gradients: the inputs that the first result is differentiated in.
    """

    inputs: Callable[[], tuple[Tensor, ...]]
    call: Callable[..., Any]
    gradients: tuple[int, ...] = ()

    def run(self, ops: Any, inputs: list[Tensor]) -> list[Tensor]:
        inputs = [each.clone().requires_grad_(i in self.gradients) for i, each in enumerate(inputs)]
        results = list(tensors(self.call(ops, *inputs)))
        if self.gradients:
            weights = torch.linspace(0.5, 1.5, results[0].numel(), dtype=results[0].dtype).view(results[0].shape)
            loss = (results[0] * weights).sum()
            results += torch.autograd.grad(loss, [inputs[i] for i in self.gradients])
        return [result.detach() for result in results]


def tensors(results: Any) -> Iterator[Tensor]:
    if isinstance(results, Tensor):
        yield results
    else:
        for each in results:
            yield from tensors(each)


def boxes(count: int, *broken: list[float]) -> Tensor:
    """Random boxes in an image of 48 x 64, some of the same place, then these."""
    made = random_boxes(count, 48, 64)
    return torch.cat([made, made[:2], made[:3] + 1, torch.tensor(broken).view(-1, 4)])


def grown(count: int) -> Tensor:
    """Boxes with sides of at least one."""
    return boxes(count) + torch.tensor([0, 0, 1, 1])


DEGENERATE = [[5.0, 5.0, 5.0, 9.0], [7.0, 7.0, 7.0, 7.0], [9.0, 9.0, 4.0, 4.0]]
NOT_FINITE = [[NAN, 0.0, 4.0, 4.0], [0.0, 0.0, INF, 4.0]]


def scored(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores without ties and groups."""
    made = boxes(count, *DEGENERATE[:2]).clamp(min=0)
    return made, torch.randperm(len(made)) / len(made), torch.arange(len(made)) % 3


def rois(*broken: list[float]) -> Tensor:
    made = boxes(6, *broken)
    return torch.cat([torch.arange(len(made))[:, None] % 2, made], dim=1)


def maps(channels: int = 2, step: int = 4) -> Tensor:
    return torch.randn(2, channels, 48 // step, 64 // step)


def pyramid() -> tuple[Tensor, ...]:
    return maps(), maps(step=8), maps(step=16), boxes(5), boxes(3, *DEGENERATE)


def pool(ops: Any, fine: Tensor, middle: Tensor, coarse: Tensor, *regions: Tensor) -> Tensor:
    pooler = ops.MultiScaleRoIAlign(["0", "1", "2"], 3, 2, canonical_scale=40)
    return pooler({"0": fine, "1": middle, "2": coarse}, list(regions), [(48, 64), (40, 64)])


def anchors(ops: Any, fine: Tensor, coarse: Tensor) -> list[Tensor]:
    images = SimpleNamespace(tensors=torch.empty(2, 3, 48, 64), image_sizes=[(48, 64), (40, 60)])
    return ops.AnchorGenerator(((8, 12), (16,)), ((0.5, 1.0, 2.0), (1.0,)))(images, [fine, coarse])[:1]


def overlap(name: str, *broken: list[float], gradients: tuple[int, ...] = ()) -> Case:
    return Case(lambda: (boxes(6, *broken), boxes(4, *broken)), lambda ops, a, b: getattr(ops, name)(a, b), gradients)


def focal(alpha: float, gamma: float, reduction: str) -> Case:
    return Case(
        lambda: (
            torch.tensor([[0.0, 3.0, -4.0, 90.0], [-90.0, 0.5, -0.5, NAN]]),
            torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.3, 1.0]]),
        ),
        lambda ops, inputs, targets: ops.sigmoid_focal_loss(inputs, targets, alpha, gamma, reduction),
        (0,),
    )


def convolution(groups: int, modulated: bool) -> Case:
    def inputs() -> tuple[Tensor, ...]:
        offset, mask = 2 * torch.randn(2, 36, 6, 7), torch.rand(2, 18, 6, 7)
        return torch.randn(2, 4, 6, 7), offset, torch.randn(4, 4 // groups, 3, 3), torch.randn(4), mask

    def call(ops: Any, input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        return ops.deform_conv2d(input, offset, weight, bias, padding=1, mask=mask if modulated else None)

    return Case(inputs, call, (0, 1, 2, 3, 4) if modulated else (0, 1, 2, 3))


def keypoints() -> tuple[Tensor, Tensor, Tensor]:
    points = torch.rand(4, 3, 3) * torch.tensor([64.0, 48.0, 2.0])
    return torch.randn(4, 3, 14, 14), points.round(decimals=1), random_boxes(4, 48, 64)


def masks() -> Tensor:
    made = torch.rand(5, 20, 24) < 0.02
    made[:, 10, 12] = True
    return made


SMOOTH = ("generalized_box_iou", "distance_box_iou", "complete_box_iou")
CODER = ((10.0, 10.0, 5.0, 5.0),)
CASES: dict[str, Case] = {
    **{name: overlap(name, *DEGENERATE) for name in ("box_iou", *SMOOTH)},
    **{f"{name}, not finite": overlap(name, *NOT_FINITE) for name in ("box_iou", "generalized_box_iou")},
    **{f"{name}, gradients": overlap(name, gradients=(0, 1)) for name in SMOOTH},
    "nms": Case(lambda: scored(40), lambda ops, boxes, scores, _: [ops.nms(boxes, scores, t) for t in (0.0, 0.3, 0.7)]),
    "batched_nms": Case(lambda: scored(40), lambda ops, *inputs: ops.batched_nms(*inputs, 0.3)),
    "roi_align": Case(
        lambda: (maps(), rois(*DEGENERATE)), lambda ops, *inputs: ops.roi_align(*inputs, (2, 3), 0.25), (0,)
    ),
    "roi_align, aligned": Case(
        lambda: (maps(), rois(*DEGENERATE)), lambda ops, *inputs: ops.roi_align(*inputs, 3, 0.25, 2, True), (0,)
    ),
    "MultiScaleRoIAlign": Case(pyramid, pool, (0, 1, 2)),
    "deform_conv2d": convolution(1, modulated=True),
    "deform_conv2d, groups": convolution(2, modulated=False),
    "sigmoid_focal_loss": focal(0.25, 2, "none"),
    "sigmoid_focal_loss, gamma 1.5": focal(-1, 1.5, "none"),
    "sigmoid_focal_loss, gamma 0": focal(0.4, 0, "none"),
    "encode": Case(lambda: (grown(9), grown(9)), lambda ops, *pair: ops.BoxCoder(*CODER).encode_single(*pair), (0, 1)),
    "decode": Case(
        lambda: (torch.randn(14, 8), grown(9)), lambda ops, *pair: ops.BoxCoder(*CODER).decode_single(*pair), (0, 1)
    ),
    "Matcher": Case(
        lambda: (boxes(4, *DEGENERATE), boxes(30)), lambda ops, gt, candidates: ops.match_boxes(gt, candidates)
    ),
    "AnchorGenerator": Case(lambda: (torch.empty(2, 1, 6, 8), torch.empty(2, 1, 3, 4)), anchors),
    "masks_to_boxes": Case(lambda: (masks(),), lambda ops, masks: ops.masks_to_boxes(masks)),
    "paste_masks": Case(
        lambda: (torch.rand(6, 1, 7, 7), random_boxes(6, 40, 44)), lambda ops, *inputs: ops.paste_masks(*inputs)
    ),
    "crop_and_resize_masks": Case(
        lambda: (masks(), random_boxes(6, 20, 24), torch.tensor([0, 1, 2, 3, 4, 0])),
        lambda ops, *inputs: ops.crop_and_resize_masks(*inputs),
    ),
    "keypoint_targets": Case(keypoints, lambda ops, _, points, boxes: ops.keypoint_targets(points, boxes)),
    "decode_keypoints": Case(keypoints, lambda ops, maps, _, boxes: ops.decode_keypoints(maps, boxes)),
    "keypoint_loss": Case(keypoints, lambda ops, maps, points, boxes: ops.keypoint_loss(maps, points, boxes), (0,)),
}


def keypoint_loss(maps: Tensor, points: Tensor, boxes: Tensor) -> Tensor:
    return ldie_ext.spatial_softmax_cross_entropy(maps, *ldie_ext.keypoint_targets(points, boxes, (14, 14)))


def match_boxes(gt: Tensor, candidates: Tensor) -> Tensor:
    offsets = torch.tensor([0, len(gt)])
    return ldie_ext.match_boxes(gt, offsets, candidates, 0.7, 0.3, allow_low_quality=True)[0][0]


OURS = SimpleNamespace(
    **{name: getattr(compat, name) for name in compat.__all__},
    match_boxes=match_boxes,
    masks_to_boxes=ldie_ext.masks_to_boxes,
    paste_masks=lambda masks, boxes: ldie_ext.paste_masks(masks, boxes, (40, 44)),
    crop_and_resize_masks=lambda masks, boxes, index: ldie_ext.crop_and_resize_masks(masks, boxes, 7, instances=index),
    keypoint_targets=lambda points, boxes: ldie_ext.keypoint_targets(points, boxes, (14, 14)),
    decode_keypoints=ldie_ext.decode_keypoints,
    keypoint_loss=keypoint_loss,
)


def torchvisions() -> Any:
    """The same names, by torchvision."""
    from torchvision import ops
    from torchvision.models.detection import _utils, anchor_utils, roi_heads

    def heads_targets(points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        index, valid = roi_heads.keypoints_to_heatmap(points, boxes, 14)
        return index, valid.bool()

    rows = torch.arange(4)
    return SimpleNamespace(
        **{name: getattr(ops, name) for name in compat.__all__ if hasattr(ops, name)},
        AnchorGenerator=anchor_utils.AnchorGenerator,
        BoxCoder=_utils.BoxCoder,
        match_boxes=lambda gt, candidates: _utils.Matcher(0.7, 0.3, True)(ops.box_iou(gt, candidates)),
        masks_to_boxes=ops.masks_to_boxes,
        paste_masks=lambda masks, boxes: roi_heads.paste_masks_in_image(masks, boxes, (40, 44))[:, 0] > 0.5,
        crop_and_resize_masks=lambda masks, *rest: roi_heads.project_masks_on_boxes(masks.float(), *rest, 7),
        keypoint_targets=heads_targets,
        decode_keypoints=roi_heads.heatmaps_to_keypoints,
        keypoint_loss=lambda maps, points, boxes: roi_heads.keypointrcnn_loss(maps, [boxes], [points], [rows]),
    )


def record() -> None:
    """Writes what torchvision makes of every case."""
    arrays, ops = {}, torchvisions()
    for number, (name, case) in enumerate(CASES.items()):
        torch.manual_seed(number)
        inputs = list(case.inputs())
        for kind, values in (("in", inputs), ("out", case.run(ops, inputs))):
            arrays.update({f"{name}/{kind}{i}": value.numpy() for i, value in enumerate(values)})
    np.savez_compressed(PATH, **arrays)


def recorded(name: str) -> tuple[list[Tensor], list[Tensor]]:
    """A case's inputs, and torchvision's results."""
    with np.load(PATH) as arrays:
        found = {kind: [key for key in arrays.files if key.startswith(f"{name}/{kind}")] for kind in ("in", "out")}
        inputs, results = ([torch.from_numpy(arrays[key]) for key in keys] for keys in found.values())
    return inputs, results


if __name__ == "__main__":
    record()
