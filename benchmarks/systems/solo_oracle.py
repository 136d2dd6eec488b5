# SPDX-License-Identifier: Apache-2.0
"""What SOLO's targets keep of the truth: targets made of it, taken for the network's outputs, and evaluated.

Every place that learns an object has the score 1 for its class and the object's target mask as the mask's
probabilities; from there on results are found as in inference, suppression and the way up to the file included. So the
table has the AP of a network that has learned its targets perfectly, by their stride and by the rule that makes them of
masks; ``with maskness`` ranks objects by ``test.maskness``, otherwise all have the score 1. A second table counts the
objects that no place of a single grid learns, by what is drawn last where objects share a place.

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.solo_oracle [FOLDER]

The folder, by default the generated shapes, is a data set in COCO's layout; its ``val2017`` is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ldie.config import merge
from ldie.systems.solo import SOLOConfig
from ldie.systems.solo.head import Outlook
from ldie.systems.solo.postprocess import Frame, find_objects
from ldie.systems.solo.targets import Targets, make_targets
from ldie.tasks.detection import CocoDataset, Prediction, Sample
from ldie.tasks.detection.batches import collate
from systems import oracles
from systems.oracles import CERTAIN, Kept, certain, image_size, print_tables
from torch import Tensor
from torch.nn.functional import one_hot

STRIDES, MODES, GRIDS = (2, 4, 8), ("nearest", "bilinear", "area", "fraction"), (8, 12, 16, 20, 24)


class IdealHead:
    """In the place of :class:`ldie.systems.solo.head.SOLOHead`: each place has the mask of the object it is to learn.

    Args:
        objects: By level, int64 [S * S]: the object of each place.
    """

    def __init__(self, objects: Sequence[Tensor]) -> None:
        self.objects = objects

    def image_masks(self, features: Tensor, level: int, places: Tensor) -> Tensor:
        """Logits [n,h,w]; the features are those of the image's objects, [G,h,w]."""
        return features[self.objects[level][places]]


def ideal_config(stride: int, mode: str, grids: Sequence[int] = (24,), **sections: Any) -> SOLOConfig:
    """The defaults, but for every object on every one of the grids, masks at this stride, and scores of 1."""
    levels = len(grids)
    head = {"grids": list(grids), "strides": [2 * stride] * levels}  # masks are twice as fine as the maps
    values = {
        "model": {"head": head},
        "solver": {
            "multi_scale_loss": True,
            "mask_targets": mode,
            "assign": {"scale_ranges": [[0, 100_000]] * levels, **sections.pop("assign", {})},
        },
        "test": {"min_area": "none", "maskness": False, **sections.pop("test", {})},
    }
    assert not sections
    config = merge(SOLOConfig(), values)
    config.check()
    return config


def kept(dataset: CocoDataset, config: SOLOConfig, limit: int | None = None) -> Kept:
    """See :func:`systems.oracles.kept`."""
    return oracles.kept(dataset, lambda sample: ideal_objects(sample, config, len(dataset.class_names)), limit)


def ideal_objects(sample: Sample, config: SOLOConfig, classes: int) -> tuple[Prediction, int]:
    """What a network that has learned its targets would find in a sample; and how many objects no place learns."""
    batch, grids = collate([sample], config.input.multiple), config.model.head.grids
    targets = make_targets(batch, config)
    categories, features, objects = [], [], []
    for level, (labels, own) in enumerate(zip(targets.labels[0].split([side**2 for side in grids]), targets.positives)):
        scores = one_hot(labels + 1, classes + 1)[:, 1:].T.float()
        categories.append(((2 * scores - 1) * CERTAIN).unflatten(1, (grids[level], -1))[None])
        features.append(target_logits(targets, level)[None])
        objects.append(torch.zeros(len(labels), dtype=torch.int64).index_put((own.places,), own.objects))
    frame = Frame(image_size(batch), image_size(sample), sample.size)
    found = find_objects(IdealHead(objects), Outlook(categories, features), 0, frame, config)  # type: ignore[arg-type]
    return found, len(sample) - len(torch.cat([own.objects for own in targets.positives]).unique())


def target_logits(targets: Targets, level: int) -> Tensor:
    """Logits [G,h,w] whose probabilities are a level's targets."""
    masks = targets.masks[level]
    if masks.dtype == torch.uint8:
        bits = masks[..., None] >> torch.arange(8, dtype=torch.uint8) & 1
        masks = bits.flatten(2)[..., : targets.widths[level]].float()
    return certain(masks)


def tables(dataset: CocoDataset) -> str:
    """Both tables in Markdown."""
    lines = ["| stride | targets | AP | AP50 | with maskness: AP | AP50 |", "|---|---|---|---|---|---|"]
    for stride in STRIDES:
        for mode in MODES:
            plain, ranked = (
                kept(dataset, ideal_config(stride, mode, test={"maskness": maskness})).metrics
                for maskness in (False, True)
            )
            values = [each[f"segm/{name}"] for each in (plain, ranked) for name in ("AP", "AP50")]
            lines.append(f"| {stride} | `{mode}` | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    lines += ["", "| grid | objects | lost, `given` | lost, `area` |", "|---|---|---|---|"]
    for grid in GRIDS:
        given, area = (kept(dataset, ideal_config(2, "area", (grid,), assign={"order": o})) for o in ("given", "area"))
        lines.append(f"| {grid} | {given.objects} | {given.lost} | {area.lost} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print_tables(tables, __doc__)
