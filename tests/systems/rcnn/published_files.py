"""Files as others publish them, for networks as deep as the published ones and much narrower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from ldie.commands.import_weights import convert
from ldie.config import merge
from ldie.contract import Model
from ldie.systems.rcnn import SYSTEM
from ldie.weights.names import NameTable
from ldie.weights.rcnn import TORCHVISION, TORCHVISION_V2
from torch import Tensor
from weights.test_names import LISTED

NARROW = {
    "backbone": {"stem_channel": 8, "widths": [16, 16, 16, 32], "pyramid_channel": 8},
    "mask_head": {"channel": 8},
}
SMALL = replace(SYSTEM, presets={name: merge(SYSTEM.preset(name), {"model": NARROW}) for name in SYSTEM.published})
"""The system with such presets."""
CLASS_OUTPUTS = {
    "roi_heads.box_predictor.cls_score": 1,
    "roi_heads.box_predictor.bbox_pred": 4,
    "roi_heads.mask_head.predictor": 1,
}
"""Layers with outputs for every class, and how many."""


def own_weights(preset: str, classes: int = 80, keypoints: int = 0) -> dict[str, Tensor]:
    """Random weights of a preset's networks under our names, which are detectron2's; without counters."""
    facts = {"classes": ["x"] * classes, "category_ids": list(range(classes)), "keypoints": ["x"] * keypoints}
    with torch.device("meta"):
        shapes = SMALL.model.from_config(SMALL.preset(preset), facts).state_dict()
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator) / max(1, value[0].numel())
        for name, value in shapes.items()
        if not name.endswith("num_batches_tracked")
    }


def torchvision_file(preset: str, classes: int = 90, keypoints: int = 0, *, old: bool = False) -> dict[str, Tensor]:
    """A file of torchvision's: rows of class outputs hold their label, of which 0 is the background.

    Args:
        preset: Of whose networks.
        classes: Without background.
        keypoints: Of a person.
        old: As published: names of before version 0.13 and no counters.
    """
    weights = own_weights(preset, classes, keypoints)
    for layer, each in CLASS_OUTPUTS.items():
        for name in [name for name in weights if name.rpartition(".")[0] == layer]:
            shape = weights[name].shape[1:]
            labels = torch.arange(classes + 1.0).repeat_interleave(each)
            weights[name] = labels.reshape(-1, *[1] * len(shape)).expand(-1, *shape).clone()
    names = (TORCHVISION_V2 if preset == "mask_r50_v2" else TORCHVISION).inverse()
    weights = respelled(weights, names)
    if old:
        return {OLD_NAMES.get(name, name): value for name, value in weights.items()}
    norms = [name.removesuffix("running_var") for name in weights if name.endswith("running_var")]
    return weights | {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms}


def respelled(weights: dict[str, Tensor], names: NameTable) -> dict[str, Tensor]:
    """Under other names; all have one."""
    renamed, unknown = names.rename_all(weights)
    assert unknown == []
    return renamed


def imported(preset: str, weights: dict[str, Tensor]) -> Model:
    """What ``ldie import`` makes of a file."""
    return convert(SMALL, preset, weights, Path("model.pth"))


def _old_names() -> dict[str, str]:
    lines = (line.split() for line in LISTED.read_text().splitlines())
    return {parts[0]: parts[2] for parts in lines if len(parts) == 3 and parts[0] != "#"}


OLD_NAMES = _old_names()
"""Of torchvision's files of before version 0.13, by what it calls the same now."""
