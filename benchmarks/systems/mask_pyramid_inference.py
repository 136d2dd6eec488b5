"""The mask pyramid with ResNet-50 at 800 x 1344: images a second, what of it is growth, and memory.

Parts of inference are measured in one run, one after the other in every round: the backbone with its feature pyramid,
the growth, the scores, and what follows them (suppression, masks of the file as run lengths) in two forms:

ours
    as ``ldie predict`` has it
composed
    the same steps in PyTorch and pycocotools

Then the parts of the growth, by operator. Weights are fresh, which does not change what the growth costs, as every
image has a fixed number of slots; as such weights find nothing that looks like an object, the last steps get discs, as
many as there are slots. Run it with pycocotools:

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.mask_pyramid_inference

``--preset`` names another configuration, ``--generation`` another one of the two. ``--memory`` prints the peaks of
single calls instead, and that of a training step of one image with twenty objects; each is a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.mask_pyramid import SYSTEM
from ldie.systems.mask_pyramid.generations import ConvMasks, StateMasks
from ldie.systems.mask_pyramid.model import MaskPyramid
from ldie.systems.mask_pyramid.postprocess import Scored, find_objects, scored
from ldie.tasks.detection import Prediction
from ldie.tasks.detection.mask_maps import Frame
from systems.measured import alternately, print_peak, print_peaks
from systems.rcnn_step import Places, calm, measure, samples
from torch.nn import functional

import ldie_ext
from ldie_ext.memory import keep_pages

try:
    from pycocotools import mask as pycoco
except ModuleNotFoundError:
    pycoco = None

SIZE, FILE = (800, 1344), (480, 806)
INSIDE = (794, 1333)
"""What an image of ``FILE`` is resized to."""
PARTS = ("inference", "results", "training")


def network(preset: str, generation: int | None) -> MaskPyramid:
    """With fresh weights; all hypotheses stay alive."""
    torch.manual_seed(0)
    config = SYSTEM.preset(preset)
    if generation:
        config = merge(config, {"model": {"mask": {"generation": generation}}})
    model = MaskPyramid.from_config(config, SYSTEM.task.facts_without_data(config)).eval()  # type: ignore[arg-type]
    bottom = model.backbone.bottom_up
    calm((block for name in bottom.stage_names for block in bottom.get_submodule(name)), "conv3.norm")
    return model


def frame_of(model: MaskPyramid) -> Frame:
    """The sizes that a mask passes through."""
    stride = model.config.model.strides[-1]
    padded = tuple(-(-side // stride) * stride for side in SIZE)
    return Frame((padded[0], padded[1]), INSIDE, FILE)


def discs(model: MaskPyramid) -> Scored:
    """As many hypotheses as the last level has, each a disc of its own place and size, which often overlap."""
    generator = torch.Generator().manual_seed(1)
    count = model.config.max_alive(len(model.config.model.strides) - 1)
    sides = (side // model.config.model.strides[-1] for side in frame_of(model).padded)
    y, x = torch.meshgrid(*(torch.linspace(0, 1, side) for side in sides), indexing="ij")
    places = torch.rand(2, count, 1, 1, generator=generator)
    radii = torch.empty(count, 1, 1).uniform_(0.03, 0.25, generator=generator)
    apart = ((y - places[0]) ** 2 + (x - places[1]) ** 2).sqrt()
    maps = (20 * (radii - apart) / radii).sigmoid()
    labels = torch.randint(model.config.model.num_classes // 8, (1, count), generator=generator)
    return Scored(maps[None], torch.rand(1, count, generator=generator) * 0.9 + 0.1, labels)


def ours(model: MaskPyramid, own: Scored) -> Prediction:
    """What follows the scores, as the system has it."""
    return find_objects(own, 0, frame_of(model), model.config)


def composed(model: MaskPyramid, own: Scored) -> list[Any]:
    """The same in PyTorch, with dense masks, and run lengths by pycocotools."""
    test, (maps, scores, labels) = model.config.test, (field[0] for field in own)
    scores, order = scores.sort(descending=True)
    maps, labels = maps[order], labels[order]
    masks = (maps > test.mask_threshold).flatten(1).float()
    shared, areas = masks @ masks.T, masks.sum(1)
    ious = (shared / (areas[:, None] + areas - shared).clamp(min=1)).triu(1) * (labels[:, None] == labels)
    worst = ious.amax(0)[:, None]
    scores = scores * (torch.exp(-test.sigma * ious**2) / torch.exp(-test.sigma * worst**2)).amin(0)
    scores, order = scores.sort(descending=True)
    order = order[scores >= test.update_threshold][: test.detections]
    whole = functional.interpolate(maps[order][:, None], frame_of(model).padded, mode="bilinear")
    inside = whole[:, :, : INSIDE[0], : INSIDE[1]]
    drawn = functional.interpolate(inside, FILE, mode="bilinear")[:, 0] > test.mask_threshold
    return pycoco.encode(drawn.permute(1, 2, 0).numpy().astype("uint8", order="F"))


def speed(model: MaskPyramid, rounds: int) -> None:
    """Prints seconds of the parts of inference, and of the operators of the growth."""
    images = torch.rand(1, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    sizes, stride = torch.tensor([INSIDE]), model.config.model.strides[-1]
    features = model.maps(images)
    last = model.growth(features, sizes)[-1].hypotheses
    own = discs(model)
    found, theirs = ours(model, own), composed(model, own)
    areas = ldie_ext.rle_area(found.masks)
    apart = max(abs(int(area) - int(other)) for area, other in zip(areas, pycoco.area(theirs)))
    print(f"{len(found.scores)} objects of {FILE[0]} x {FILE[1]}, composed {len(theirs)}, areas within {apart} pixels")
    calls: dict[str, Callable[[], Any]] = {
        "backbone": lambda: model.maps(images),
        "growth": lambda: model.growth(features, sizes),
        "scores": lambda: scored(last, model.score(features[-1], last), stride, model.config),
        "ours": lambda: ours(model, own),
        "composed": lambda: composed(model, own),
    }
    medians = alternately(calls, rounds)
    whole = sum(medians.values()) - medians["composed"]
    for name, seconds in medians.items():
        print(f"{name:10s} {seconds * 1e3:9.1f} ms, {100 * seconds / whole:5.1f} % of an image")
    print(f"{1 / whole:.3f} images/s; results composed: {medians['composed'] / medians['ours']:.1f} times ours")
    names = ("gaussian_maps", "gated_conv", "pyramid_coverage", "pyramid_spawn", "pyramid_cull")
    parts: Places = {name: (ldie_ext, name) for name in names}
    parts["masks' layers"] = (ConvMasks if isinstance(model.growth.masks, ConvMasks) else StateMasks, "forward")
    measure("growth", calls["growth"], parts, rounds)


def one_call(form: str, model: MaskPyramid) -> Callable[[], Any]:
    """What a process of its own does for its peak of memory."""
    if form == "training":
        config = merge(model.config, {"solver": {"lr": 1e-12}})
        recipe = SYSTEM.recipe(model, config, TrainingRuntime(torch.device("cpu")))
        recipe.train_mode()
        batch = recipe.collate(samples()[:1])
        return lambda: recipe.train_step(batch, 0)
    if form == "inference":
        images, sizes = torch.rand(1, 3, *SIZE).contiguous(memory_format=torch.channels_last), torch.tensor([INSIDE])
        return lambda: model(images, sizes)
    own = discs(model)
    return lambda: ours(model, own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(SYSTEM.presets), default="r50_1x", help="(r50_1x)")
    parser.add_argument("--generation", type=int, choices=(1, 2), help="instead of the preset's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="peaks of one call each, in processes of their own")
    parser.add_argument("--peak-of", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        own = ["--preset", options.preset, *(["--generation", str(options.generation)] if options.generation else [])]
        print_peaks("systems.mask_pyramid_inference", PARTS, own)
        return
    model = network(options.preset, options.generation)
    if options.peak_of:
        call = one_call(options.peak_of, model)
        print_peak(options.peak_of, call, gradients=options.peak_of == "training")
        return
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    keep_pages()
    with torch.inference_mode():
        speed(model, options.rounds)


if __name__ == "__main__":
    main()
