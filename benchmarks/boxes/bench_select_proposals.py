"""select_proposals at 800 x 1344 with five levels; the peer is torchvision's decode and filter_proposals."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SIZE, STRIDES = (800, 1344), (4, 8, 16, 32, 64)
PRE_NMS, POST_NMS, THRESHOLD = 2000, 1000, 0.7


def pyramid_anchors(device: torch.device) -> list[Tensor]:
    cells = [(-(-SIZE[0] // stride), -(-SIZE[1] // stride)) for stride in STRIDES]
    sizes, ratios = [(8.0 * stride,) for stride in STRIDES], [(0.5, 1.0, 2.0)] * len(STRIDES)
    return ldie_ext.grid_anchors(sizes, ratios, cells, [(stride, stride) for stride in STRIDES], device=device)


def torchvision_proposals(
    scores: Tensor, deltas: Tensor, anchors: Tensor, levels: list[int], sizes: list[tuple[int, int]]
) -> Callable[[], object]:
    from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead

    network = RegionProposalNetwork(
        AnchorGenerator(((32,),), ((1.0,),)), RPNHead(1, 1), 0.7, 0.3, 256, 0.5,
        {"training": PRE_NMS, "testing": PRE_NMS}, {"training": POST_NMS, "testing": POST_NMS}, THRESHOLD,
    )  # fmt: skip

    def run() -> object:
        boxes = network.box_coder.decode(deltas.flatten(0, 1), [anchors] * len(scores)).view(len(scores), -1, 4)
        return network.filter_proposals(boxes, scores, sizes, levels)

    return run


@pytest.mark.parametrize("batch", [1, 2, 8])
def bench_select_proposals(measure: harness.Measure, batch: int) -> None:
    by_level = pyramid_anchors(measure.device)
    levels, anchors = [len(level) for level in by_level], torch.cat(by_level)
    scores = torch.randn(batch, len(anchors)).to(measure.device)
    deltas = (torch.randn(batch, len(anchors), 4) * 0.2).to(measure.device)
    sizes = [SIZE] * batch
    candidates = batch * sum(min(PRE_NMS, level) for level in levels)  # whose deltas and anchors are read
    measure(
        f"{batch} images, {len(anchors) // 1000}k anchors, {PRE_NMS} to {POST_NMS}",
        ours=lambda: ldie_ext.select_proposals(
            scores, deltas, anchors, levels, sizes, pre_nms=PRE_NMS, post_nms=POST_NMS, iou_threshold=THRESHOLD
        ),
        peer=harness.tv and torchvision_proposals(scores, deltas, anchors, levels, sizes),
        read_bytes=scores.nbytes + 2 * candidates * 16,
    )
