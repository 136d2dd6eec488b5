# SPDX-License-Identifier: Apache-2.0
"""The evaluator of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from ldie_ext.coco import mask as coco_mask


class MaskEvaluator(COCOeval_faster):  # type: ignore[misc]  # comes without types
    """faster-coco-eval on masks that ``ldie_ext.coco.mask`` draws, measures and compares, to the same numbers.

    Args:
        truth: Its annotations have polygons or run lengths, and ``iscrowd``.
        results: COCO result records with run lengths.
    """

    def __init__(self, truth: COCO, results: Sequence[dict[str, Any]]) -> None:
        areas = coco_mask.area([record["segmentation"] for record in results]).tolist()
        annotations = [
            {**record, "id": number, "area": area, "iscrowd": 0}
            for number, (record, area) in enumerate(zip(results, areas), start=1)
        ]
        super().__init__(truth, COCO({**truth.dataset, "annotations": annotations}), "segm")
        self.params.compute_rle = False  # computeIoU() needs no masks of the evaluator's own

    def computeIoU(self, imgId: int, catId: int) -> Any:
        """IoU [D, G] of an image's detections of a category, best first, with its objects; empty where none are."""
        image, objects = self.cocoGt.imgs[imgId], self.gt_dataset.get(imgId, catId)
        found = self.dt_dataset.get(imgId, catId)
        best = np.argsort([-record["score"] for record in found], kind="stable")[: self.params.maxDets[-1]]
        return coco_mask.iou(
            [found[i]["segmentation"] for i in best],
            coco_mask.rasterize([item["segmentation"] for item in objects], image["height"], image["width"]),
            [item["iscrowd"] for item in objects],
        )
