"""A call of every public function, in each form that differs in what it asks of the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from op_checks import random_boxes
from torch import Tensor

import ldie_ext
from ldie_ext import RLE, Polygons, nn

H, W = 24, 32
BATCH, COUNT = 2, 8  # images and objects; read when inputs are made, so that a test may set others


@dataclass(frozen=True)
class Case:
    """One form of a function.

    Attributes:
        op: the function's name.
        inputs: makes tensors on the CPU: each time other values, the same shapes.
        call: the call, on these tensors.
        gradients: which of them the result is differentiated in.
        form: which form, where there are several.
        waits: what it waits for; empty when the call never waits, and so can be captured in a CUDA graph.
    """

    op: str
    inputs: Callable[[], tuple[Tensor, ...]]
    call: Callable[..., Any]
    gradients: tuple[int, ...] = ()
    form: str = ""
    waits: str = ""

    def __str__(self) -> str:
        return f"{self.op}, {self.form}" if self.form else self.op

    def inputs_on(self, device: torch.device) -> list[Tensor]:
        moved = [tensor.to(device) for tensor in self.inputs()]
        return [tensor.requires_grad_(i in self.gradients) for i, tensor in enumerate(moved)]

    def run(self, inputs: list[Tensor]) -> list[Tensor]:
        """The results and the gradients."""
        results = list(_tensors(self.call(*inputs)))
        if not self.gradients:
            return results
        outputs = [result for result in results if result.requires_grad]
        grads = torch.autograd.grad(outputs, [inputs[i] for i in self.gradients], [*map(torch.ones_like, outputs)])
        return [*(result.detach() for result in results), *grads]


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif result is not None:
        parts = vars(result).values() if dataclasses.is_dataclass(result) else result
        for part in parts:
            yield from _tensors(part)


def boxes(count: int | None = None) -> Tensor:
    return random_boxes(count or COUNT, H, W)


def offsets() -> Tensor:
    """The images' shares of the objects."""
    return torch.tensor([0, COUNT] if BATCH == 1 else [0, 3, COUNT])


def objects() -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and offsets."""
    return boxes(), torch.randint(0, 3, (COUNT,)), offsets()


def massed() -> tuple[Tensor, ...]:
    """Boxes, labels, centres of mass, areas and offsets."""
    rectangles, labels, starts = objects()
    return rectangles, labels, (rectangles[:, :2] + rectangles[:, 2:]) / 2, torch.randint(0, 99, (COUNT,)), starts


def masks(count: int | None = None) -> Tensor:
    return torch.rand(count or COUNT, H, W) < 0.5


def maps(channels: int = 3) -> Tensor:
    return torch.randn(BATCH, channels, H, W)


def polygons() -> tuple[Tensor, Tensor, Tensor]:
    return 30 * torch.rand(12, 2, dtype=torch.float64), torch.tensor([0, 4, 8, 12]), torch.tensor([0, 2, 3])


def runs() -> tuple[Tensor, Tensor, Tensor]:
    """Four masks of three runs."""
    first, second = torch.randint(1, H * W // 2, (2, 4))
    counts = torch.stack([first, second, H * W - first - second], 1).flatten().int()
    return counts, torch.arange(5) * 3, torch.tensor([[H, W]]).repeat(4, 1)


def edits(*operators: int) -> tuple[Tensor, Tensor]:
    """Operators and parameters of each image."""
    return torch.tensor([operators] * BATCH), 0.5 + torch.rand(BATCH, len(operators), 24)


def candidates(*operators: int) -> tuple[Tensor, Tensor]:
    """Operators and parameters of three candidates for each image."""
    return torch.tensor([[operators] * 3] * BATCH), 0.5 + torch.rand(BATCH, 3, len(operators), 24)


def anchors() -> tuple[Tensor, Tensor, Tensor]:
    """Scores, deltas and anchors."""
    return torch.randn(BATCH, 50), 0.1 * torch.randn(BATCH, 50, 4), boxes(50)


GRIDS: dict[str, Any] = {"grids": (6, 4), "scale_ranges": ((1, 12), (8, 99))}
PROPOSALS: dict[str, Any] = {"pre_nms": 20, "post_nms": 10, "iou_threshold": 0.5}
KEPT = "how many are kept"
RUNS = "how many runs there are"
SIZES = "the masks' sizes"
ENDED = "the sequences' widths, and every few steps whether all fits have ended"

# fmt: off
CASES = [
    # boxes
    *(Case(op, lambda: (boxes(5), boxes()), getattr(ldie_ext, op), (0, 1))
      for op in ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou")),
    Case("decode_boxes", lambda: (torch.randn(COUNT, 4), boxes()), ldie_ext.decode_boxes, (0, 1)),
    Case("encode_boxes", lambda: (boxes(), boxes() + torch.tensor([0, 0, 1, 1])), ldie_ext.encode_boxes, (0, 1)),
    Case("grid_anchors", lambda: (boxes(),),
         lambda like: ldie_ext.grid_anchors((8, 16), (0.5, 1.0), [(2, 3), (1, 2)], (8, 16), device=like.device)),
    Case("match_boxes", lambda: (boxes(), offsets(), boxes(20)),
         lambda *inputs: ldie_ext.match_boxes(*inputs, 0.5, 0.3, allow_low_quality=True)),
    Case("sample_labels", lambda: (torch.randint(-2, 4, (BATCH, 50)), torch.randint(99, (BATCH,))),
         lambda matches, seeds: ldie_ext.sample_labels(matches, 16, 0.25, seeds)),
    Case("select_proposals", lambda: (*anchors(), torch.tensor([[H, W]] * BATCH)),
         lambda *inputs: ldie_ext.select_proposals(*inputs[:3], [30, 20], inputs[3], **PROPOSALS)),
    Case("select_proposals", anchors,
         lambda *inputs: ldie_ext.select_proposals(*inputs, [30, 20], [(H, W)] * BATCH, **PROPOSALS),
         form="sizes in a list"),
    # suppression
    Case("nms", lambda: (boxes(), torch.rand(COUNT)), lambda *inputs: ldie_ext.nms(*inputs, 0.5), waits=KEPT),
    Case("batched_nms", lambda: (boxes(), torch.rand(COUNT), torch.arange(COUNT) % 3),
         lambda *inputs: ldie_ext.batched_nms(*inputs, 0.5), waits=KEPT),
    Case("nms_padded", lambda: (boxes(), torch.rand(COUNT), torch.arange(COUNT) % 3),
         lambda *inputs: ldie_ext.nms_padded(*inputs, 0.5, 5)),
    Case("soft_nms", lambda: (boxes(), torch.rand(COUNT)), ldie_ext.soft_nms, waits=KEPT),
    Case("mask_nms", lambda: (masks(), torch.arange(COUNT) % 3, torch.rand(COUNT)),
         lambda *inputs: ldie_ext.mask_nms(*inputs, 0.5), waits=KEPT),
    Case("matrix_nms", lambda: (masks(), torch.arange(COUNT) % 3, torch.rand(COUNT)), ldie_ext.matrix_nms),
    Case("points_nms", lambda: (maps().sigmoid(),), ldie_ext.points_nms, (0,)),
    Case("points_nms", lambda: (maps().sigmoid(),), lambda scores: ldie_ext.points_nms(scores, kernel=3), (0,),
         "kernel 3"),
    # roi
    Case("roi_align", lambda: (maps(), torch.cat([torch.arange(COUNT)[:, None] % BATCH, boxes()], 1)),
         lambda *inputs: ldie_ext.roi_align(*inputs, 3), (0,)),
    Case("roi_align", lambda: (maps(), *(boxes(3) for _ in range(BATCH))),
         lambda maps, *rest: ldie_ext.roi_align(maps, rest, 3), (0,), "boxes in a list"),
    Case("multiscale_roi_align", lambda: (maps(), maps()[..., ::2, ::2], boxes(), offsets()),
         lambda fine, coarse, *rest: ldie_ext.multiscale_roi_align([fine, coarse], *rest, 3, (1, 0.5)), (0, 1)),
    # heatmap
    Case("center_heatmap", objects, lambda *inputs: ldie_ext.center_heatmap(*inputs, 3, (H, W))),
    Case("center_targets", objects, lambda *inputs: ldie_ext.center_targets(*inputs, (H, W), 6)),
    Case("decode_keypoints", lambda: (torch.randn(4, 2, 7, 7), boxes(4)), ldie_ext.decode_keypoints),
    Case("gather_l1_loss",
         lambda: (maps(2), torch.randint(H * W, (BATCH, 5)), torch.randn(BATCH, 5, 2), torch.rand(BATCH, 5) < 0.7),
         ldie_ext.gather_l1_loss, (0,)),
    Case("gaussian_maps", lambda: (20 * torch.rand(BATCH, COUNT, 2),),
         lambda centers: ldie_ext.gaussian_maps(centers, 7.0, (H, W))),
    Case("gaussian_maps", lambda: (20 * torch.rand(BATCH, COUNT, 2), 7 * torch.rand(BATCH, COUNT)),
         lambda *inputs: ldie_ext.gaussian_maps(*inputs, (H, W), kind="sigma"), form="a radius for each"),
    Case("heatmap_peaks", lambda: (maps().sigmoid(),), lambda scores: ldie_ext.heatmap_peaks(scores, 10)),
    Case("keypoint_targets", lambda: (20 * torch.rand(COUNT, 5, 3), boxes()),
         lambda *inputs: ldie_ext.keypoint_targets(*inputs, (7, 7))),
    # losses
    Case("center_focal_loss", lambda: (maps(), torch.rand(BATCH, 3, H, W)), ldie_ext.center_focal_loss, (0,)),
    Case("center_focal_loss_from_boxes", lambda: (maps(), *objects()), ldie_ext.center_focal_loss_from_boxes, (0,)),
    Case("dice_loss", lambda: (torch.randn(COUNT, 50), torch.rand(COUNT, 50)), ldie_ext.dice_loss, (0,)),
    Case("gather_upsample_dice",
         lambda: (torch.randn(COUNT, H // 2, W // 2), masks(), torch.randint(-1, COUNT, (COUNT + 1,)),
                  torch.randint(COUNT, (COUNT + 1,))),
         lambda logits, masks, cells, rows: ldie_ext.gather_upsample_dice(logits, masks, cells=cells, rows=rows), (0,)),
    Case("sigmoid_focal_loss", lambda: (torch.randn(COUNT, 5), torch.rand(COUNT, 5)),
         lambda *inputs: ldie_ext.sigmoid_focal_loss(*inputs, reduction="mean"), (0,)),
    Case("spatial_softmax_cross_entropy",
         lambda: (maps(), torch.randint(H * W, (BATCH, 3)), torch.rand(BATCH, 3) < 0.7),
         ldie_ext.spatial_softmax_cross_entropy, (0,)),
    # adversarial
    Case("box_class_masks", objects, lambda *inputs: ldie_ext.box_class_masks(*inputs, 3, (H, W))),
    Case("masked_scale_loss", lambda: (maps(), *objects()),
         lambda scores, *rest: ldie_ext.masked_scale_loss(scores, 1, *rest, num_classes=3), (0,)),
    Case("materialize_masked_scores", lambda: (maps(), masks(2 * BATCH).view(BATCH, 2, H, W)),
         ldie_ext.materialize_masked_scores, (0,)),
    # conv
    Case("deform_conv2d",
         lambda: (maps(), maps(18), torch.randn(4, 3, 3, 3), torch.randn(4), maps(9).sigmoid()),
         lambda input, offset, weight, bias, mask: ldie_ext.deform_conv2d(
             input, offset, weight, bias, padding=(1, 1), mask=mask), (0, 1, 2, 3, 4)),
    # pyramid
    Case("gated_conv", lambda: (maps(COUNT).sigmoid(), torch.randn(BATCH, 2, 9, H, W)), ldie_ext.gated_conv, (0, 1)),
    # masks
    Case("polygons_to_masks", polygons, lambda *inputs: ldie_ext.polygons_to_masks(Polygons(*inputs), (H, W))),
    Case("polygons_to_rle", polygons, lambda *inputs: ldie_ext.polygons_to_rle(Polygons(*inputs), (H, W)), waits=RUNS),
    Case("polygons_to_rle", polygons,
         lambda *inputs: ldie_ext.polygons_to_rle(Polygons(*inputs), (H, W), max_runs=500), form="max_runs"),
    Case("polygons_to_roi_masks", lambda: (*polygons(), boxes(2)),
         lambda *inputs: ldie_ext.polygons_to_roi_masks(Polygons(*inputs[:3]), inputs[3], 7)),
    Case("rle_encode", lambda: (masks(),), ldie_ext.rle_encode, waits=RUNS),
    Case("rle_encode", lambda: (masks(),), lambda masks: ldie_ext.rle_encode(masks, max_runs=5000), form="max_runs"),
    Case("rle_decode", runs, lambda *inputs: ldie_ext.rle_decode(RLE(*inputs)), waits=SIZES),
    Case("rle_decode", runs, lambda *inputs: ldie_ext.rle_decode(RLE(*inputs), size=(H, W)), form="size"),
    Case("rle_area", runs, lambda *inputs: ldie_ext.rle_area(RLE(*inputs))),
    Case("rle_to_boxes", runs, lambda *inputs: ldie_ext.rle_to_boxes(RLE(*inputs))),
    Case("mask_iou", lambda: (masks(), masks(5)), ldie_ext.mask_iou),
    Case("mask_iou", runs, lambda *inputs: ldie_ext.mask_iou(RLE(*inputs), RLE(*inputs)),
         form="run lengths", waits=SIZES),
    Case("mask_iou", runs, lambda *inputs: ldie_ext.mask_iou(RLE(*inputs), RLE(*inputs), size=(H, W)),
         form="run lengths and size"),
    Case("masks_to_boxes", lambda: (masks(),), ldie_ext.masks_to_boxes),
    Case("mask_centers", lambda: (masks(),), ldie_ext.mask_centers),
    Case("mask_target_pyramid", lambda: (masks(),),
         lambda masks: ldie_ext.mask_target_pyramid(masks, (2, 4, 128)), form="bool"),
    Case("mask_target_pyramid", runs,
         lambda *inputs: ldie_ext.mask_target_pyramid(RLE(*inputs), (4, 8), packed=True),
         form="run lengths", waits=SIZES),
    Case("mask_target_pyramid", runs,
         lambda *inputs: ldie_ext.mask_target_pyramid(RLE(*inputs), (4, 8), mode="bilinear", size=(H, W)),
         form="run lengths and size"),
    Case("mask_target_pyramid", polygons,
         lambda *inputs: ldie_ext.mask_target_pyramid(Polygons(*inputs), (4,), mode="fraction", size=(H, W)),
         form="polygons"),
    Case("paste_masks", lambda: (torch.rand(COUNT, 1, 7, 7), boxes()),
         lambda *inputs: ldie_ext.paste_masks(*inputs, (H, W))),
    Case("composite_masks", lambda: (torch.rand(COUNT, 7, 7), torch.randint(COUNT, (COUNT + 1,))),
         lambda maps, index: ldie_ext.composite_masks(maps, (H, W), index=index, between=(20, 24), crop=(18, 24))),
    Case("composite_masks", lambda: (torch.rand(COUNT, 7, 7), torch.rand(COUNT)),
         lambda maps, scores: ldie_ext.composite_masks(maps, (H, W), scores=scores, exclusive=True), form="exclusive"),
    Case("composite_masks", lambda: (torch.rand(COUNT, 7, 7),),
         lambda maps: ldie_ext.composite_masks(maps, (H, W), rle=True), form="rle", waits=RUNS),
    Case("crop_and_resize_masks", lambda: (masks(), boxes()),
         lambda *inputs: ldie_ext.crop_and_resize_masks(*inputs, 7)),
    Case("solo_assign", massed, lambda *inputs: ldie_ext.solo_assign(*inputs, (H, W), **GRIDS)),
    Case("solo_assign", lambda: (*massed(), masks()),
         lambda *inputs: ldie_ext.solo_assign(*inputs[:5], (H, W), **GRIDS, masks=inputs[5], convention="seed"),
         form="masks"),
    # pyramid
    Case("pyramid_coverage", lambda: (torch.randn(BATCH, COUNT, H, W), torch.rand(BATCH, COUNT) < 0.7),
         ldie_ext.pyramid_coverage),
    Case("pyramid_coverage",
         lambda: (torch.randn(BATCH, COUNT, H, W), torch.rand(BATCH, COUNT) < 0.7, torch.tensor([[H, 9]] * BATCH)),
         lambda logits, alive, sizes: ldie_ext.pyramid_coverage(
             logits, alive, top_k=5, background=0.5, floor=0.1, sizes=sizes), form="sizes"),
    Case("pyramid_coverage",
         lambda: (torch.randn(BATCH, COUNT, H, W), torch.rand(BATCH, COUNT) < 0.7, 9 * torch.rand(BATCH, COUNT, 2)),
         lambda logits, alive, places: ldie_ext.pyramid_coverage(logits, alive, places=places, step=2.0),
         form="places"),
    Case("pyramid_cull", lambda: (torch.rand(BATCH, COUNT) < 0.7, torch.rand(BATCH, COUNT)),
         lambda *inputs: ldie_ext.pyramid_cull(*inputs, 4)),
    Case("pyramid_spawn", lambda: (torch.rand(BATCH, H, W), torch.rand(BATCH, COUNT) < 0.5),
         lambda *inputs: ldie_ext.pyramid_spawn(*inputs, capacity=6, max_alive=9, min_spawn=2)),
    Case("pyramid_spawn",
         lambda: (torch.rand(BATCH, H, W), torch.rand(BATCH, COUNT) < 0.5, torch.randn(BATCH, 3, H, W)),
         lambda coverage, alive, guide: ldie_ext.pyramid_spawn(
             coverage, alive, capacity=6, max_alive=9, guide=guide, step=8.0), form="guide"),
    # editing
    Case("apply_edits", lambda: (torch.rand(BATCH, 3, H, W), *edits(1, 2, 4, 0)), ldie_ext.apply_edits, (0, 2)),
    Case("apply_edits",
         lambda: (torch.rand(BATCH, 3, H, W), *edits(3, 5), torch.rand(2, H, W), torch.randint(-1, 2, (BATCH, 2)),
                  torch.rand(BATCH, 2) < 0.5), ldie_ext.apply_edits, (0, 2), "masks"),
    Case("apply_edits", lambda: (torch.randint(256, (BATCH, H, W, 3), dtype=torch.uint8), *edits(1, 2)),
         lambda *inputs: ldie_ext.apply_edits(*inputs, layout="hwc"), form="uint8"),
    Case("apply_edits", lambda: (torch.rand(BATCH, 3, H, W), *edits(6, 1, 12, 13)), ldie_ext.apply_edits, (0, 2),
         "stencils"),
    Case("edit_distances", lambda: (*torch.rand(2, BATCH, 3, H, W), *candidates(1, 2, 4, 0)), ldie_ext.edit_distances,
         (0, 1, 3)),
    Case("edit_distances",
         lambda: (*torch.rand(2, BATCH, 3, H, W), *candidates(3, 5), torch.rand(2, H, W),
                  torch.randint(-1, 2, (BATCH, 3, 2)), torch.rand(BATCH, 3, 2) < 0.5),
         lambda *inputs: ldie_ext.edit_distances(*inputs, metric="l2"), (0, 1, 3), "masks"),
    Case("edit_distances", lambda: (*torch.rand(2, BATCH, 3, H, W), *candidates(6, 1, 12, 13)), ldie_ext.edit_distances,
         (0, 1, 3), "stencils"),
    Case("edit_distances",
         lambda: (*torch.randint(256, (2, BATCH, 3, H, W), dtype=torch.uint8), *candidates(1, 2)),
         ldie_ext.edit_distances, (3,), "uint8"),
    Case("segment_mean_pool", lambda: (maps(), torch.randint(-1, 4, (BATCH, H, W))),
         lambda *inputs: ldie_ext.segment_mean_pool(*inputs, 4), (0,)),
    Case("fit_edits",
         lambda: (torch.rand(BATCH, 3, H, W), torch.rand(BATCH, 3, H, W), torch.tensor([[[1, 2], [5, 0]]] * BATCH)),
         lambda *inputs: ldie_ext.fit_edits(*inputs, starts=2), waits=ENDED),
    # modules that do more than call an op
    Case("nn.AnchorGenerator", lambda: (maps(),),
         lambda maps: nn.AnchorGenerator(((8,),), ((0.5, 1.0),))(ImageList(maps), [maps])),
    Case("nn.MultiScaleRoIAlign", lambda: (maps(), maps()[..., ::2, ::2], *(boxes(3) for _ in range(BATCH))),
         lambda fine, coarse, *rest: nn.MultiScaleRoIAlign(["0", "1"], 3, 2)(
             {"0": fine, "1": coarse}, rest, [(H, W)] * BATCH), (0, 1)),
]
# fmt: on


@dataclass
class ImageList:
    """What torchvision's class of that name gives an anchor generator."""

    tensors: Tensor

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        return [(H, W)] * len(self.tensors)


def _answer(case: Case) -> str:
    return f"{case.form}: " * bool(case.form) + (f"no, reads {case.waits}" if case.waits else "yes")


def markdown_table() -> str:
    """Which forms can be captured in a CUDA graph, for docs/cuda_graphs.md."""
    lines = ["| function | in a CUDA graph |", "|---|---|"]
    for op in sorted({case.op for case in CASES}, key=lambda op: ("." in op, op)):
        forms = "; ".join(_answer(case) for case in CASES if case.op == op)
        lines.append(f"| `{op}` | {forms} |")
    return "\n".join(lines) + "\n"
