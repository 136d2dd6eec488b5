"""Which rows of a GPU come first: every op's first row before any op's second, the ops users call most first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

OPS = (
    "multiscale_roi_align",
    "roi_align",
    "nms",
    "batched_nms",
    "select_proposals",
    "match_boxes",
    "deform_conv2d",
    "masked_scale_loss",
    "sigmoid_focal_loss",
    "center_focal_loss_from_boxes",
    "heatmap_peaks",
    "polygons_to_roi_masks",
    "paste_masks",
    "box_iou",
    "sample_labels",
)


class Order:
    """Sort key of pytest's items: (which row of its op it is, the op's importance)."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self.keys: dict[pytest.Item, tuple[int, int]] = {}
        seen: Counter[str] = Counter()
        for item in items:
            op = Path(str(item.path)).stem.removeprefix("bench_")
            self.keys[item] = (seen[op], OPS.index(op) if op in OPS else len(OPS))
            seen[op] += 1

    def __call__(self, item: pytest.Item) -> tuple[int, int]:
        return self.keys[item]
