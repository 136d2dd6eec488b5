"""Mask R-CNN with ResNet-50: what its operators take of a training step and of inference, beside torchvision's.

Both do the same work on the same two images with the same twenty objects each: anchors, matching, sampling, proposals,
pooling of regions, mask targets, suppression, pasting. Their parts are timed by labels in torch's profiler, backward of
pooling by the operators' own names; convolutions and linear layers are in neither sum. Run it with torchvision:

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.rcnn_step

Ours keeps the pages of its big outputs, as ``ldie train`` does; ``--fresh-pages`` measures without. ``--memory`` does
one training step of ours alone and prints the process's peak.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.rcnn import RCNN, SYSTEM, RCNNRecipe, model, training
from ldie.systems.rcnn.regions import Regions
from ldie.tasks.detection import Sample
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

import ldie_ext
from ldie_ext.memory import keep_pages

SIZE, OBJECTS, CLASSES = (800, 1344), 20, 80
RATE = 1e-12
"""Learning rate: the weights are to stay what they are."""
WORK = "work::"
BACKWARD = ("ldie_ext::roi_align_backward", "torchvision::_roi_align_backward")
Places = dict[str, tuple[Any, str]]


def samples() -> list[Sample]:
    """Two images of noise with eight-cornered objects of all sizes."""
    made = []
    for image_id in range(2):
        sides = torch.exp(torch.empty(OBJECTS, 2).uniform_(3.0, 6.0))
        centers = torch.rand(OBJECTS, 2) * torch.tensor([SIZE[1], SIZE[0]])
        boxes = torch.cat([centers - sides / 2, centers + sides / 2], 1)
        boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([SIZE[1], SIZE[0]]).repeat(2))
        made.append(
            Sample(
                image=torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8),
                image_id=image_id,
                boxes=boxes,
                labels=torch.randint(0, CLASSES, (OBJECTS,)),
                iscrowd=torch.zeros(OBJECTS, dtype=torch.bool),
                masks=ldie_ext.Polygons.from_coco([[octagon(box)] for box in boxes.tolist()]),
                keypoints=None,
                size=SIZE,
                file_name="noise",
            )
        )
    return made


def octagon(box: list[float]) -> list[float]:
    """A box without its corners."""
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) / 4, (y2 - y1) / 4
    points = [(x1 + dx, y1), (x2 - dx, y1), (x2, y1 + dy), (x2, y2 - dy), (x2 - dx, y2), (x1 + dx, y2)]
    return [value for point in [*points, (x1, y2 - dy), (x1, y1 + dy)] for value in point]


def calm(blocks: Iterable[torch.nn.Module], last: str) -> None:
    """Makes residual branches of fresh weights small, as constant norms let them grow from block to block."""
    with torch.no_grad():
        for block in blocks:
            block.get_submodule(last).weight.mul_(0.2)


def spread_classes(predictor: torch.nn.Module, vectors: Tensor) -> None:
    """Makes class scores of fresh weights differ, so that there is something to suppress and to paste."""
    with torch.no_grad():
        predictor.cls_score.weight.mul_(3.0 / predictor.cls_score(vectors).std())


@contextmanager
def labelled(places: Places) -> Iterator[None]:
    """Context in which functions, by the name of their work, are labels in a profile."""

    def wrapped(name: str, function: Callable) -> Callable:
        def call(*args: Any, **options: Any) -> Any:
            with record_function(WORK + name):
                return function(*args, **options)

        return call

    with ExitStack() as stack:
        for name, (owner, attribute) in places.items():
            replacement = wrapped(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, replacement))
        yield


def measure(what: str, call: Callable[[], Any], places: Places, repeats: int) -> tuple[float, float]:
    """Seconds of a call, and of its labelled work; medians."""
    call()
    walls: list[float] = []
    works: list[dict[str, float]] = []
    for _ in range(repeats):
        with labelled(places), profile(activities=[ProfilerActivity.CPU]) as profiler:
            start = time.perf_counter()
            call()
            walls.append(time.perf_counter() - start)
        parts = {
            event.key.removeprefix(WORK): event.cpu_time_total / 1e6
            for event in profiler.key_averages()
            if event.key.startswith(WORK) or event.key in BACKWARD
        }
        works.append(parts)
    wall = sorted(walls)[repeats // 2]
    parts = sorted(works, key=lambda parts: sum(parts.values()))[repeats // 2]
    work = sum(parts.values())
    print(f"{what:24s} {wall * 1e3:9.1f} ms, ops {work * 1e3:8.1f} ms:", end=" ")
    print(", ".join(f"{name} {seconds * 1e3:.1f}" for name, seconds in sorted(parts.items())), flush=True)
    return wall, work


def ours() -> tuple[RCNN, RCNNRecipe]:
    """Preset ``mask_r50`` with fresh weights."""
    torch.manual_seed(0)
    config = merge(SYSTEM.preset("mask_r50"), {"solver": {"lr": RATE}})
    made = SYSTEM.model.from_config(config, SYSTEM.task.facts_without_data(config))
    network = made.backbone.bottom_up
    calm((block for name in network.stage_names for block in network.get_submodule(name)), "conv3.norm")
    recipe = SYSTEM.recipe(made, made.config, TrainingRuntime(torch.device("cpu")))
    recipe.train_mode()
    return made, recipe


def measure_ours(data: list[Sample], repeats: int) -> dict[str, float]:
    """Seconds of the work in a training step and in inference."""
    made, recipe = ours()
    batch = recipe.collate(data)
    generator = made.proposal_generator
    shared: Places = {
        "anchors": (generator.anchors, "grid"),
        "proposals": (generator, "propose"),
        "pooling": (made, "pool"),
    }
    targets: Places = {
        "matching, sampling": (training, "anchor_targets"),
        "regions": (training, "sample_regions"),
        "choosing regions": (Regions, "compact"),
        "choosing objects": (Regions, "foreground"),
        "mask targets": (type(batch.masks), "in_boxes"),
    }
    step = measure("ldie, training", lambda: recipe.train_step(batch, 0), shared | targets, repeats)
    made.eval()
    with torch.inference_mode():
        spread_classes(made.roi_heads.box_predictor, torch.rand(512, 1024))
        images = [sample.image for sample in data]
        results: Places = {"suppression": (model, "select_objects"), "results": (made, "_prediction")}
        found = measure("ldie, inference", lambda: made.predict(images), shared | results, repeats)
    return {"training": step[1], "inference": found[1]}


def measure_torchvision(data: list[Sample], repeats: int) -> dict[str, float]:
    """The same of its ``maskrcnn_resnet50_fpn``."""
    from torchvision.models import detection

    torch.manual_seed(0)
    made = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    layers = (made.backbone.body[f"layer{number}"] for number in range(1, 5))
    calm((block for layer in layers for block in layer), "bn3")
    made.train()
    heads, rpn, regions = detection.roi_heads, made.rpn, made.roi_heads
    images = [sample.image / 255 for sample in data]
    truths = [
        {
            "boxes": sample.boxes,
            "labels": sample.labels + 1,
            "masks": ldie_ext.polygons_to_masks(sample.masks, SIZE).to(torch.uint8),
        }
        for sample in data
    ]
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], RATE, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        sum(made(images, truths).values()).backward()
        optimizer.step()

    shared: Places = {
        "anchors": (rpn.anchor_generator, "forward"),
        "proposals": (rpn, "filter_proposals"),
        "decoding": (rpn.box_coder, "decode"),
        "pooling of boxes": (regions.box_roi_pool, "forward"),
        "pooling of masks": (regions.mask_roi_pool, "forward"),
    }
    targets: Places = {
        "matching": (rpn, "assign_targets_to_anchors"),
        "encoding": (rpn.box_coder, "encode"),
        "sampling": (rpn, "fg_bg_sampler"),
        "regions": (regions, "select_training_samples"),
        "mask targets": (heads, "project_masks_on_boxes"),
    }
    trained = measure("torchvision, training", step, shared | targets, repeats)
    made.eval()
    with torch.inference_mode():
        spread_classes(regions.box_predictor, torch.rand(512, 1024))
        results: Places = {
            "suppression": (regions, "postprocess_detections"),
            "results": (made.transform, "postprocess"),
        }
        found = measure("torchvision, inference", lambda: made(images), shared | results, repeats)
    return {"training": trained[1], "inference": found[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="one training step of ours, and the peak of the process")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fresh-pages", action="store_true", help="have the system provide big outputs' pages")
    options = parser.parse_args()
    if not options.fresh_pages:
        keep_pages()
    torch.manual_seed(0)
    data = samples()
    if options.memory:
        _, recipe = ours()
        recipe.train_step(recipe.collate(data), 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"peak of the process after one training step of two {SIZE[0]} x {SIZE[1]} images: {peak:.2f} GiB")
        return
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    own, peer = measure_ours(data, options.repeats), measure_torchvision(data, options.repeats)
    for kind, seconds in own.items():
        print(f"{kind}: torchvision's operators take {peer[kind] / seconds:.1f} times as long")


if __name__ == "__main__":
    main()
