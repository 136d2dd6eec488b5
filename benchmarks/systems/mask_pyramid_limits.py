# SPDX-License-Identifier: Apache-2.0
"""What limits a trained mask pyramid: how far the objects of a data set come in it.

An object is

born
    if a hypothesis that lives on the last level was born in a cell of it,
outlined
    if one of those has a mask that overlaps it by half,
named
    if one of those has the object's class, too.

AP50 is what ranking leaves of the last: hypotheses that are no object's, or are a second one's of an object, may stand
before it. The step at which most objects are lost is what limits the pyramid.

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.mask_pyramid_limits RUN [FOLDER]

RUN is a run's folder or checkpoint; FOLDER, by default the generated shapes, is a data set in COCO's layout, of which
``val2017`` is looked at.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ldie
import numpy as np
import torch
from ldie.systems.mask_pyramid import MaskPyramid
from ldie.systems.mask_pyramid.config import MaskPyramidModel
from ldie.systems.mask_pyramid.hypotheses import Seeds, cells
from ldie.systems.mask_pyramid.postprocess import Scored, scored
from ldie.systems.mask_pyramid.truth import Truth, make_truth
from ldie.tasks.detection import CocoDataset, Sample, build_shapes
from ldie.tasks.detection.batches import collate, network_input
from ldie.tasks.detection.mask_maps import Frame, draw
from ldie.tasks.detection.masks import to_bitmaps
from ldie.tasks.detection.transforms import ResizeShorterSide
from torch import Tensor

import ldie_ext

BATCH = 8


class Limits(NamedTuple):
    """How far the objects come, as parts of their number, and how many hypotheses that takes."""

    objects: int
    born: float
    outlined: float
    named: float
    overlap: float
    """Of an object and its best mask, on average."""
    alive: tuple[float, ...]
    """Hypotheses of an image, on average, by level."""


class _Fates(NamedTuple):
    """Of the objects of an image."""

    born: Tensor  # bool [G]
    outlined: Tensor  # bool [G]
    named: Tensor  # bool [G]
    overlaps: Tensor  # float64 [G]


@torch.no_grad()
def limits(model: MaskPyramid, dataset: CocoDataset) -> Limits:
    """How far the objects of a data set come, crowds left out; the model is in eval mode."""
    options = model.config.input
    resize, rng = ResizeShorterSide((options.shorter_side,), options.longest), np.random.default_rng(0)
    fates, alive = [], []
    for first in range(0, len(dataset), BATCH):
        samples = [dataset[index] for index in range(first, min(first + BATCH, len(dataset)))]
        found, living = _of_batch(model, [resize(sample.select(~sample.iscrowd), rng) for sample in samples])
        fates += found
        alive.append(living)
    together = [torch.cat(parts).double() for parts in zip(*fates)]
    born, outlined, named, overlap = (float(part.mean()) if len(part) else 0.0 for part in together)
    return Limits(len(together[0]), born, outlined, named, overlap, tuple(torch.cat(alive).mean(0).tolist()))


def _of_batch(model: MaskPyramid, samples: Sequence[Sample]) -> tuple[list[_Fates], Tensor]:
    """What becomes of the objects of each image; how many live, float64 [B,levels]."""
    config = model.config
    batch = collate(samples, config.input.multiple)
    levels, opinion = model(network_input(batch.images, batch.sizes, config.input), batch.sizes)
    truth, last = make_truth(batch, config), levels[-1].hypotheses
    own = scored(last, opinion, config.model.strides[len(levels) - 1], config)
    padded = batch.images.shape[2], batch.images.shape[3]
    fates = []
    for place, sample in enumerate(samples):
        size = sample.image.shape[1], sample.image.shape[2]
        slots = last.seeds.alive[place].nonzero().flatten()
        rows = truth.objects[place]
        hits = _births(last.seeds, place, slots, truth, rows[rows >= 0], config.model)
        fates.append(_fates(hits, own, place, slots, sample, Frame(padded, size, size), config.test.mask_threshold))
    return fates, torch.stack([level.hypotheses.seeds.alive.sum(1) for level in levels], 1).double()


def _births(seeds: Seeds, place: int, slots: Tensor, truth: Truth, objects: Tensor, model: MaskPyramidModel) -> Tensor:
    """Bool [A,G]: whether the hypotheses in ``slots`` of an image were born in a cell of its ``objects``."""
    strides, radius = model.strides, model.mask.gauss_radius
    hits = torch.zeros(len(slots), len(objects), dtype=torch.bool)
    for row, slot in enumerate(slots.tolist()):
        level = strides.index(int(seeds.radii[place, slot] / radius))
        covered = truth.covered[level]
        cell = cells(seeds.places[place, slot], strides[level], covered.shape[1:])
        hits[row] = covered.flatten(1)[objects, cell]
    return hits


def _fates(
    hits: Tensor, own: Scored, place: int, slots: Tensor, sample: Sample, frame: Frame, threshold: float
) -> _Fates:
    assert sample.masks is not None
    found = draw(own.maps[place], slots, frame, threshold, packed=False)
    overlaps = ldie_ext.mask_iou(found, to_bitmaps(sample.masks, frame.file))
    outlined = overlaps >= 0.5
    named = outlined & (own.labels[place, slots][:, None] == sample.labels)
    best = torch.cat([overlaps, overlaps.new_zeros(1, len(sample))]).amax(0)
    return _Fates(hits.any(0), outlined.any(0), named.any(0), best)


def main() -> None:
    """Prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", nargs="?", type=Path, help="a data set in COCO's layout; none: the generated shapes")
    options = parser.parse_args()
    model = ldie.load(options.run, "cpu").model
    if not isinstance(model, MaskPyramid):
        parser.error(f"{options.run} is no mask pyramid")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or build_shapes(Path(scratch) / "shapes", train=1)
        for name, value in limits(model, CocoDataset(folder, "val2017"))._asdict().items():
            print(f"{name:9s} {value}")


if __name__ == "__main__":
    main()
