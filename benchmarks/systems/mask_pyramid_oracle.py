"""What a mask pyramid's targets keep of the truth, and which objects its levels can begin.

The first table takes each object's target on the last level for the mask of a hypothesis that has learned it, of the
object's class for sure; from there on results are found as in inference, suppression and the way up to the file
included. So it has the AP of a network that has learned its targets perfectly, by the stride of the last level and by
the rule that makes targets; ``with maskness`` ranks objects by the mean of their masks as inference does, otherwise all
have the score 1. The second table counts the objects that no cell of a level learns if every cell of it begins a
hypothesis; and how many are left when the coarser levels have begun theirs.

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.mask_pyramid_oracle [FOLDER]

The folder, by default the generated shapes, is a data set in COCO's layout; its ``val2017`` is evaluated.
"""

from __future__ import annotations

from typing import Any

import torch
from ldie.config import merge
from ldie.systems.mask_pyramid import MaskPyramidConfig
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks, Seeds
from ldie.systems.mask_pyramid.postprocess import find_objects, scored
from ldie.systems.mask_pyramid.score import Opinion
from ldie.systems.mask_pyramid.truth import Truth, assign, make_truth
from ldie.tasks.detection import CocoDataset, Prediction, Sample
from ldie.tasks.detection.batches import collate
from ldie.tasks.detection.mask_maps import Frame
from systems import oracles
from systems.oracles import CERTAIN, Kept, certain, image_size, print_tables
from torch import Tensor
from torch.nn.functional import one_hot

STRIDES, MODES, START = (4, 8, 16), ("nearest", "bilinear", "area", "fraction"), 128


def ideal_config(stride: int, mode: str, start: int = START, *, maskness: bool = False) -> MaskPyramidConfig:
    """The defaults with this last level and these targets."""
    values: dict[str, Any] = {
        "model": {"start_stride": start, "last_stride": stride, "score": {"maskness": maskness}},
        "solver": {"loss": {"targets": mode}},
        "input": {"multiple": start},
    }
    config = merge(MaskPyramidConfig(), values)
    config.check()
    return config


def kept(dataset: CocoDataset, config: MaskPyramidConfig, limit: int | None = None) -> Kept:
    """See :func:`systems.oracles.kept`."""
    return oracles.kept(dataset, lambda sample: ideal_objects(sample, config, len(dataset.class_names)), limit)


def ideal_objects(sample: Sample, config: MaskPyramidConfig, classes: int) -> tuple[Prediction, int]:
    """What a network that has learned its targets would find, and how many objects no cell of any level begins."""
    batch = collate([sample], config.input.multiple)
    truth = make_truth(batch, config)
    masks = Masks(certain(truth.targets[-1])[None], None)
    labels = one_hot(truth.labels, classes + 1)[None].float()
    opinion = Opinion((2 * labels - 1) * CERTAIN, None)
    alive = torch.ones_like(truth.objects, dtype=torch.bool)
    nowhere = torch.zeros(*alive.shape, 3)
    own = scored(
        Hypotheses(Seeds(alive.long() - 1, nowhere, truth.objects), masks), opinion, config.model.strides[-1], config
    )
    frame = Frame(image_size(batch), image_size(sample), sample.size)
    return find_objects(own, 0, frame, config), left(truth, config)[-1]


def alone(truth: Truth, config: MaskPyramidConfig) -> list[int]:
    """By level, objects of an image that no cell of it learns."""
    return [len(truth.labels) - len(_learned(truth, level, None, config)) for level in range(len(truth.covered))]


def left(truth: Truth, config: MaskPyramidConfig) -> list[int]:
    """By level, objects of an image that no cell of it and of the coarser ones learns."""
    counts, learned = [], torch.zeros(0, dtype=torch.int64)
    for level in range(len(truth.covered)):
        seeds = Seeds(torch.zeros_like(learned)[None], torch.zeros(1, len(learned), 3), learned[None])
        learned = torch.cat([learned, _learned(truth, level, seeds, config)]).unique()
        counts.append(len(truth.labels) - len(learned))
    return counts


def _learned(truth: Truth, level: int, seeds: Seeds | None, config: MaskPyramidConfig) -> Tensor:
    """The objects that some cell of a level learns if each begins a hypothesis."""
    height, width = truth.covered[level].shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = (torch.stack([x, y], 2).flatten(0, 1)[None] + 0.5) * config.model.strides[level]
    alive = torch.ones(places.shape[:2], dtype=torch.bool)
    objects = assign(places, alive, level, seeds, truth, config).unique()
    return objects[objects >= 0]


def tables(dataset: CocoDataset) -> str:
    """Both tables in Markdown."""
    lines = ["| stride | targets | AP | AP50 | with maskness: AP | AP50 |", "|---|---|---|---|---|---|"]
    for stride in STRIDES:
        for mode in MODES:
            plain, ranked = (kept(dataset, ideal_config(stride, mode, maskness=by)).metrics for by in (False, True))
            values = [each[f"segm/{name}"] for each in (plain, ranked) for name in ("AP", "AP50")]
            lines.append(f"| {stride} | `{mode}` | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    config = ideal_config(STRIDES[0], "area")
    samples = [dataset[index].select(~dataset[index].iscrowd) for index in range(len(dataset))]
    truths = [make_truth(collate([sample], config.input.multiple), config) for sample in samples if len(sample)]
    objects = sum(len(truth.labels) for truth in truths)
    lines += ["", f"| stride | not begun, of {objects} | with the coarser levels |", "|---|---|---|"]
    both = ([sum(level) for level in zip(*(count(truth, config) for truth in truths))] for count in (alone, left))
    lines += [f"| {stride} | {own} | {rest} |" for stride, own, rest in zip(config.model.strides, *both)]
    return "\n".join(lines)


if __name__ == "__main__":
    print_tables(tables, __doc__)
