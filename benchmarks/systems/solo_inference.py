"""SOLO with ResNet-50 at 800 x 1344: images a second, what of it is not networks, and memory.

The steps after the branches of the head - points NMS, the last 1 x 1 convolution of the masks, matrix NMS, masks of the
file as run lengths - are measured in three forms, in one run and one after the other in every round:

ours
    as ``ldie predict`` has them
composed
    the same steps, for the places that are looked at alone, in PyTorch and pycocotools
published
    as the published code has them: every place's mask is computed, a GB of them

Weights are fresh. As these find nothing that looks like an object, the steps get what trained branches would give them:
features that the last convolution makes discs of on a little noise, of sizes that fit the level, and categories by
which so many places come through (``--candidates``). Run it with pycocotools:

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.solo_inference

``--memory`` prints the peaks of single calls instead, and that of a training step of one image with twenty objects;
each is a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.solo import SYSTEM
from ldie.systems.solo.config import SOLOConfig
from ldie.systems.solo.head import Outlook
from ldie.systems.solo.model import SOLO
from ldie.systems.solo.postprocess import Frame, find_objects
from ldie.tasks.detection import Prediction
from systems.measured import alternately, print_peak, print_peaks
from systems.rcnn_step import calm, samples
from torch import Tensor
from torch.nn import functional

import ldie_ext
from ldie_ext.memory import keep_pages

try:
    from pycocotools import mask as pycoco
except ModuleNotFoundError:
    pycoco = None

SIZE, FILE, CLASSES = (800, 1344), (480, 806), 80
INSIDE = (794, 1333)
"""What an image of ``FILE`` is resized to."""
FRAME = Frame(SIZE, INSIDE, FILE)
_SHAPE = 5
"""Channels that discs are made of."""


def network() -> SOLO:
    """The published networks with fresh weights."""
    torch.manual_seed(0)
    config = SOLOConfig()
    model = SOLO.from_config(config, SYSTEM.task.facts_without_data(config)).eval()
    bottom = model.backbone.bottom_up
    calm((block for name in bottom.stage_names for block in bottom.get_submodule(name)), "conv3.norm")
    return model


def likely_outlook(model: SOLO, count: int) -> Outlook:
    """What branches give that see ``count`` objects, which often overlap; and the last layer that draws discs."""
    head, config = model.head, model.config.model.head
    generator = torch.Generator().manual_seed(1)
    grids = torch.tensor(config.grids)
    chosen = torch.randperm(int((grids**2).sum()), generator=generator)[:count]
    places = [own - start for own, start in zip(_by_level(chosen, grids), [0, *(grids**2).cumsum(0).tolist()])]
    outlook = Outlook([], [])
    for level, (grid, stride, own) in enumerate(zip(config.grids, config.strides, places)):
        sides = SIZE[0] // stride, SIZE[1] // stride
        y, x = torch.meshgrid(*(torch.linspace(0, 1, side) for side in sides), indexing="ij")
        noise = torch.randn(1, config.channel - _SHAPE, *sides, generator=generator).relu()
        shape = torch.stack([x * x, y * y, x, y, torch.ones_like(x)])[None]
        outlook.features.append(torch.cat([shape, noise], 1).contiguous(memory_format=torch.channels_last))
        _draw_discs(head.conv_mask_list[level], grid, generator)
        logits = torch.full((CLASSES, grid * grid), -7.0)
        labels = torch.randint(0, CLASSES // 8, (len(own),), generator=generator)
        logits[labels, own] = torch.empty(len(own)).uniform_(-2, 3, generator=generator)
        outlook.categories.append(logits.view(1, CLASSES, grid, grid))
    return outlook


def _by_level(cells: Tensor, grids: Tensor) -> list[Tensor]:
    ends = (grids**2).cumsum(0)
    level = torch.bucketize(cells, ends, right=True)
    return [cells[level == index] for index in range(len(grids))]


def _draw_discs(last: torch.nn.Module, grid: int, generator: torch.Generator) -> None:
    """The layer [grid**2,C,1,1] that makes a disc round each place, of one to six places' width, of the channels."""
    centre = (torch.arange(grid) + 0.5) / grid
    y, x = (axis.flatten() for axis in torch.meshgrid(centre, centre, indexing="ij"))
    radius = torch.empty(grid * grid).uniform_(0.5, 3, generator=generator) / grid
    rise = 6 / radius.square()  # logits of 6 in the middle
    one = torch.ones_like(x)
    discs = rise * torch.stack([-one, -one, 2 * x, 2 * y, radius.square() - x * x - y * y])
    with torch.no_grad():
        last.weight.normal_(std=0.05, generator=generator)
        last.weight[:, :_SHAPE, 0, 0] = discs.T
        last.bias.zero_()


def ours(model: SOLO, outlook: Outlook) -> Prediction:
    """The steps as the system has them."""
    return find_objects(model.head, outlook, 0, FRAME, model.config)


def composed(model: SOLO, outlook: Outlook) -> list[Any]:
    """The steps in PyTorch, of the places that are looked at."""
    found = _composed_candidates(outlook, model.config)
    strides, size = model.config.model.head.strides, (SIZE[0] // 4, SIZE[1] // 4)
    maps = torch.empty(len(found[0]), *size)
    level, place = found[2], found[3]
    for index, features in enumerate(outlook.features):
        rows = (level == index).nonzero().flatten()
        last = model.head.conv_mask_list[index]
        logits = functional.conv2d(features, last.weight[place[rows]], last.bias[place[rows]])
        twice = functional.interpolate(logits, scale_factor=2, mode="bilinear").sigmoid()
        maps[rows] = functional.interpolate(twice, size, mode="bilinear")[0] if strides[index] != 8 else twice[0]
    return _composed_objects(found, maps, model.config)


def published(model: SOLO, outlook: Outlook) -> list[Any]:
    """The steps in PyTorch, with the masks of all places."""
    size = (SIZE[0] // 4, SIZE[1] // 4)
    maps = []
    for features, last in zip(outlook.features, model.head.conv_mask_list):
        twice = last(functional.interpolate(features, scale_factor=2, mode="bilinear"))
        maps.append(functional.interpolate(twice.sigmoid(), size, mode="bilinear")[0])
    every = torch.cat(maps)
    found = _composed_candidates(outlook, model.config)
    starts = torch.tensor([0, *(grid**2 for grid in model.config.model.head.grids)]).cumsum(0)
    return _composed_objects(found, every[starts[found[2]] + found[3]], model.config)


def _composed_candidates(outlook: Outlook, config: SOLOConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, labels, levels and places of the best."""
    test, rows = config.test, []
    for level in outlook.categories:
        scores = level.sigmoid()
        highest = functional.max_pool2d(scores, 2, stride=1, padding=1)[:, :, :-1, :-1]
        rows.append((scores * (highest == scores))[0].flatten(1).T)
    scores = torch.cat(rows)
    levels = torch.cat([torch.full((len(own),), index) for index, own in enumerate(rows)])
    places = torch.cat([torch.arange(len(own)) for own in rows])
    cells, labels = (scores > test.score_thr).nonzero().unbind(1)
    best, order = scores[cells, labels].sort(descending=True)
    order = order[: test.nms_pre]
    return best[: test.nms_pre], labels[order], levels[cells[order]], places[cells[order]]


def _composed_objects(found: tuple[Tensor, Tensor, Tensor, Tensor], maps: Tensor, config: SOLOConfig) -> list[Any]:
    """Suppression with dense masks, and run lengths."""
    test, (scores, labels, level, _) = config.test, found
    masks = maps > test.mask_threshold
    areas = masks.sum((1, 2)).float()
    kept = areas > torch.tensor(config.model.head.strides)[level]
    scores, labels, maps, masks, areas = scores[kept], labels[kept], maps[kept], masks[kept].float(), areas[kept]
    scores = scores * ((maps * masks).sum((1, 2)) / areas)
    scores, order = scores.sort(descending=True)
    labels, maps, masks, areas = labels[order], maps[order], masks[order].flatten(1), areas[order]
    shared = masks @ masks.T
    ious = (shared / (areas[:, None] + areas - shared)).triu(1) * (labels[:, None] == labels)
    worst = ious.amax(0)[:, None]
    scores = scores * (torch.exp(-test.sigma * ious**2) / torch.exp(-test.sigma * worst**2)).amin(0)
    scores, order = scores.sort(descending=True)
    order = order[scores >= test.update_threshold][: test.detections]
    whole = functional.interpolate(maps[order][:, None], SIZE, mode="bilinear")[:, :, : INSIDE[0], : INSIDE[1]]
    drawn = functional.interpolate(whole, FILE, mode="bilinear")[:, 0] > test.mask_threshold
    return pycoco.encode(drawn.permute(1, 2, 0).numpy().astype("uint8", order="F"))


FORMS = {"ours": ours, "composed": composed, "published": published}


def speed(count: int, rounds: int) -> None:
    """Prints seconds of the networks and of the steps after them."""
    model = network()
    images = torch.rand(1, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    outlook = likely_outlook(model, count)
    found = ours(model, outlook)
    others = {"composed": composed(model, outlook), "published": published(model, outlook)}
    areas = ldie_ext.rle_area(found.masks)
    print(f"{len(found.scores)} objects of {int(areas.min())} to {int(areas.max())} pixels of {FILE[0]} x {FILE[1]}")
    for name, runs in others.items():
        apart = [abs(int(area) - int(theirs)) for area, theirs in zip(areas, pycoco.area(runs))]
        print(f"{name}: {len(runs)} objects, areas of the masks apart by {max(apart)} pixels at most")
    calls: dict[str, Callable[[], Any]] = {"networks": lambda: model(images)}
    for name, form in FORMS.items():
        calls[name] = partial(form, model, outlook)
    medians = alternately(calls, rounds)
    for name, seconds in medians.items():
        print(f"{name:10s} {seconds * 1e3:9.1f} ms", end="")
        if name == "networks":
            print()
            continue
        whole = seconds + medians["networks"]
        print(f", with the networks {1 / whole:.3f} images/s, {100 * seconds / whole:.1f} % of it", end="")
        print(f", {seconds / medians['ours']:.1f} times ours" if name != "ours" else "")


def one_call(form: str, count: int) -> Callable[[], Any]:
    """What a process of its own does for its peak of memory."""
    model = network()
    if form == "training":
        config = merge(model.config, {"solver": {"lr": 1e-12}})
        recipe = SYSTEM.recipe(model, config, TrainingRuntime(torch.device("cpu")))
        recipe.train_mode()
        batch = recipe.collate(samples()[:1])
        return lambda: recipe.train_step(batch, 0)
    if form == "networks":
        images = torch.rand(1, 3, *SIZE).contiguous(memory_format=torch.channels_last)
        return lambda: model(images)
    outlook = likely_outlook(model, count)
    return partial(FORMS[form], model, outlook)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=300, help="places with a category (300)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="peaks of one call each, in processes of their own")
    parser.add_argument("--peak-of", choices=("networks", "training", *FORMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        call = one_call(options.peak_of, options.candidates)
        print_peak(options.peak_of, call, gradients=options.peak_of == "training")
    elif options.memory:
        names = ("networks", *FORMS, "training")
        print_peaks("systems.solo_inference", names, ["--candidates", str(options.candidates)])
    else:
        print(
            f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
        )
        keep_pages()
        with torch.inference_mode():
            speed(options.candidates, options.rounds)


if __name__ == "__main__":
    main()
