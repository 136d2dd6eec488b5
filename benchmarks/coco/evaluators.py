"""COCO evaluators on the same detections, each in a process of its own: CPU time, memory, distance from the oracle.

Run in this folder's parent: ``python -m coco.evaluators [bbox segm keypoints]``. Those not installed are left out.

The time is that of all threads, from detections in memory to the summary; imports, and parsing the truth's JSON, are
not in it. The memory is the peak above the process that has imported ``ldie.tasks.detection`` (and with it torch), with
everything: the evaluator's own code, the truth and the detections. The distance is the greatest between any two numbers
of precision and recall curves.

``ldie eval`` is what that command does once it has the results of all images, but for pictures: it gathers them,
evaluates boxes and what else there is, single classes too, and writes ``metrics.json`` and ``detections.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from coco import workload as loads

ROOT = Path(__file__).parents[1]
CASES: dict[loads.Kind, tuple[int, int]] = {"bbox": (2000, 100), "segm": (200, 16), "keypoints": (500, 20)}
"""Images, and detections of each."""


def status(field: str) -> float:
    """MB of this process's memory: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


IMPORTED = status("VmRSS")


def by_ldie(load: loads.Workload) -> Callable[[], Any]:
    from ldie.tasks.detection.evaluator import evaluate

    truth, predictions = load.parsed(), load.predictions()
    return lambda: evaluate(truth, predictions, load.kind, loads.CATEGORY_IDS)


def by_command(load: loads.Workload) -> Callable[[], Any]:
    from ldie.engine.evaluation import gather_results
    from ldie.files import write_text
    from ldie.tasks.detection import TASK
    from ldie.tasks.detection.results import coco_detections, write_records

    truth, share = load.parsed(), dict(enumerate(load.predictions().items()))
    dataset: Any = SimpleNamespace(
        truth=truth, has_masks=load.kind == "segm", keypoint_truth=truth if load.kind == "keypoints" else None,
        label_to_category_id=[*loads.CATEGORY_IDS], class_names=[str(id) for id in loads.CATEGORY_IDS],
    )  # fmt: skip

    def compute() -> None:
        results = gather_results(share, len(share))
        metrics = TASK.metrics(dataset, results, detailed=True)
        print(TASK.table(metrics))
        with tempfile.TemporaryDirectory() as folder:
            write_text(Path(folder) / "metrics.json", json.dumps(metrics))
            write_records(Path(folder) / "detections.json", coco_detections(results, dataset.label_to_category_id))

    return compute


def by_hotcoco(load: loads.Workload) -> Callable[[], Any]:
    """The evaluator alone: from its own columns, or from records where it has none for them."""
    import hotcoco

    truth = load.truth
    if load.kind == "keypoints":
        return by_class(hotcoco.COCO, hotcoco.COCOeval, load)
    items, rows = truth["annotations"], load.rows()
    masks = [record["segmentation"] for record in load.records()] if load.kind == "segm" else None
    columns = [np.array([item[key] for item in items]) for key in ("image_id", "category_id", "bbox")]
    areas = np.array([item["area"] for item in items])
    outlines = [item["segmentation"] for item in items] if masks is not None else None

    def compute() -> Any:
        sought = hotcoco.COCO.from_arrays(
            truth["images"], truth["categories"], *columns, area=areas, segmentation=outlines
        )
        found = sought.load_res(rows, segmentation=masks)
        if masks is not None:
            found.update_anns(ids=np.arange(1, len(rows) + 1), area=hotcoco.mask.area(masks))
        return run(hotcoco.COCOeval(sought, found, load.kind))

    return compute


def by_class(coco: Any, evaluator: Any, load: loads.Workload) -> Callable[[], Any]:
    """Those with pycocotools' classes: from records, or for boxes from rows."""
    results = load.rows() if load.kind == "bbox" else load.records()

    def compute() -> Any:
        sought = coco()
        sought.dataset = load.truth
        sought.createIndex()
        return run(evaluator(sought, sought.loadRes(results), load.kind))

    return compute


def by_pycocotools(load: loads.Workload) -> Callable[[], Any]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return by_class(COCO, COCOeval, load)


def by_faster(load: loads.Workload) -> Callable[[], Any]:
    from faster_coco_eval import COCO, COCOeval_faster

    return by_class(COCO, COCOeval_faster, load)


def by_ultrafast(load: loads.Workload) -> Callable[[], Any]:
    from ultrafast_pycocotools import COCO, COCOeval

    return by_class(COCO, COCOeval, load)


def by_vernier(load: loads.Workload) -> Callable[[], Any]:
    from pycocotools.coco import COCO
    from vernier import COCOeval

    return by_class(COCO, COCOeval, load)


def run(evaluator: Any) -> Any:
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return evaluator


EVALUATORS: dict[str, tuple[str, Callable[[loads.Workload], Callable[[], Any]]]] = {
    "pycocotools": ("pycocotools", by_pycocotools),
    "faster-coco-eval": ("faster_coco_eval", by_faster),
    "vernier": ("vernier", by_vernier),
    "ultrafast-pycocotools": ("ultrafast_pycocotools", by_ultrafast),
    "hotcoco": ("hotcoco", by_hotcoco),
    "ldie": ("hotcoco", by_ldie),
    "ldie eval": ("hotcoco", by_command),
}
"""By name: the package to import, and what gets everything ready and returns the evaluation."""


def child(name: str, kind: loads.Kind, curves: Path) -> dict[str, float]:
    """Measures one evaluator in this process, writes its curves down."""
    load = loads.workload(kind, *CASES[kind])
    compute = EVALUATORS[name][1](load)
    load.found.clear()  # the evaluation has them in its own form
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start, wall = time.process_time(), time.perf_counter()
    evaluator = compute()
    cost = {"cpu": time.process_time() - start, "wall": time.perf_counter() - wall, "peak": status("VmHWM") - IMPORTED}
    if evaluator is not None:
        np.savez(curves, precision=evaluator.eval["precision"], recall=evaluator.eval["recall"])
    return cost


def measure(name: str, kind: loads.Kind, rounds: int, curves: Path) -> dict[str, float]:
    """The least of some rounds, each in a fresh process."""
    command = [sys.executable, "-m", "coco.evaluators", kind, "--child", name, str(curves)]
    results = [json.loads(subprocess.check_output(command, text=True, cwd=ROOT)) for _ in range(rounds)]
    return {key: min(result[key] for result in results) for key in results[0]}


def table(kind: loads.Kind, rounds: int) -> None:
    images, detections = CASES[kind]
    print(f"\n{kind}, {images} images, {images * detections} detections\n")
    print("| evaluator | CPU s | wall s | peak MB | distance |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        oracle = None
        for name, (package, _) in EVALUATORS.items():
            if importlib.util.find_spec(package) is None:
                continue
            path = Path(folder) / f"{name}.npz"
            try:
                cost = measure(name, kind, rounds, path)
            except subprocess.CalledProcessError:
                print(f"| {name} | fails | | | |", flush=True)
                continue
            curves = dict(np.load(path)) if path.exists() else {}
            oracle = oracle or curves
            distance = f"{max(float(np.abs(curves[key] - oracle[key]).max()) for key in curves):.2g}" if curves else ""
            print(f"| {name} | {cost['cpu']:.2f} | {cost['wall']:.2f} | {cost['peak']:.0f} | {distance} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("NAME", "FILE"))
    options = parser.parse_args()
    if options.child:
        name, curves = options.child
        with contextlib.redirect_stdout(io.StringIO()):
            cost = child(name, options.kinds[0], Path(curves))
        print(json.dumps(cost))
        return
    for kind in options.kinds:
        table(kind, options.rounds)


if __name__ == "__main__":
    main()
