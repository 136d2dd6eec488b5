"""COCO evaluation from predictions in memory to the twelve numbers.

Ours is ldie's evaluation, composed the evaluator that it calls, on its own columns made ready beforehand; the peer is
pycocotools for masks, and faster-coco-eval for boxes, for which pycocotools takes too long here. CPU seconds and memory
of all evaluators: evaluators.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import pytest

from ldie_ext.coco import mask as coco_mask

for package in ("hotcoco", "faster_coco_eval", "pycocotools"):
    pytest.importorskip(package)
evaluators = pytest.importorskip("coco.evaluators")
workload = pytest.importorskip("coco.workload")

PEERS = {"segm": evaluators.by_pycocotools, "bbox": evaluators.by_faster}


def silent(compute: Callable[[], Any]) -> Callable[[], Any]:
    def quiet() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return compute()

    return quiet


@pytest.mark.parametrize("kind", PEERS)
def bench_evaluation(measure: harness.Measure, kind: Any) -> None:
    coco_mask.set_num_threads(measure.threads)
    images, detections = evaluators.CASES[kind]
    load = workload.workload(kind, images, detections)
    ours, composed, peer = (silent(ready(load)) for ready in (evaluators.by_ldie, evaluators.by_hotcoco, PEERS[kind]))
    assert np.allclose(ours().eval["precision"], peer().eval["precision"], rtol=0, atol=1e-9)
    what = "masks of 480x640" if kind == "segm" else "boxes"
    accumulated = ours().eval
    measure(
        f"{images} images, {images * detections} {what}",
        ours=ours,
        composed=composed,
        peer=peer,
        read_bytes=harness.bytes_of(load.predictions()),
        written_bytes=harness.bytes_of([accumulated[name] for name in ("precision", "recall", "scores")]),
    )
