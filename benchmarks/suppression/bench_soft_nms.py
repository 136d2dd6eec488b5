"""soft_nms on uniform boxes; the composed form is the loop that users write, with each step over all boxes at once."""

from __future__ import annotations

import harness
import pytest
import torch
from suppression.boxes import uniform
from torch import Tensor

import ldie_ext

THRESHOLD, SIGMA, MIN_SCORE = 0.3, 0.5, 1e-3


def composed(boxes: Tensor, scores: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """As in the paper's code: one box a step, the decay of all that are left vectorised."""
    rows, areas = torch.arange(len(boxes), device=boxes.device), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept_rows, kept_scores = [], []
    while len(rows):
        best = scores.argmax()
        kept_rows.append(rows[best])
        kept_scores.append(scores[best])
        sides = torch.minimum(boxes[best, 2:], boxes[:, 2:]) - torch.maximum(boxes[best, :2], boxes[:, :2])
        inter = sides.clamp(min=0).prod(1)
        iou = inter / (areas[best] + areas - inter)
        factor = torch.where(iou >= THRESHOLD, 1 - iou, 1) if method == "linear" else (-(iou**2) / SIGMA).exp()
        scores = scores * factor
        scores[best] = 0
        live = scores >= MIN_SCORE
        rows, boxes, areas, scores = rows[live], boxes[live], areas[live], scores[live]
    return torch.stack(kept_scores), torch.stack(kept_rows)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("count", [1000, 5000])
def bench_soft_nms(measure: harness.Measure, count: int, method: str) -> None:
    boxes, scores = uniform(count).to(measure.device), torch.rand(count, device=measure.device)
    measure(
        f"{count // 1000}k boxes, {method}",
        ours=lambda: ldie_ext.soft_nms(boxes, scores, method=method),
        composed=lambda: composed(boxes, scores, method),
        read_bytes=harness.bytes_of(boxes, scores),
    )
