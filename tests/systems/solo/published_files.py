"""Files as mmdetection and the authors of SOLO publish them, for the published network and for a narrow one."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ldie.commands.import_weights import convert
from ldie.config import merge
from ldie.contract import Model
from ldie.systems.solo import SYSTEM
from systems.solo.published_network import Widths, authors_name, random_file
from torch import Tensor
from weights.history import history_buffer

NARROW = Widths(8, (16, 16, 16, 32), 8)
KEYS: dict[str, Any] = {"stem_channel": NARROW.stem, "widths": NARROW.stages, "pyramid_channel": NARROW.pyramid}
"""Of its backbone, in a configuration."""
SMALL = replace(
    SYSTEM, presets={name: merge(SYSTEM.preset(name), {"model": {"backbone": KEYS}}) for name in SYSTEM.presets}
)
"""The system with backbones as narrow as that; only its published presets make sense."""


def small_file(classes: int = 80) -> dict[str, Tensor]:
    """Of the narrow network, under mmdetection's names."""
    return random_file(classes, NARROW)


def authors_file(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the authors' names."""
    return {authors_name(name): value for name, value in weights.items()}


def saved(path: Path, weights: dict[str, Tensor], kind: str) -> Path:
    """A file of ``mmdetection``, of its newer version (``mmengine``), or of the ``authors`` of SOLO.

    The second has what torch refuses to read where ``weights_only`` is set, the third is older than torch's archives.
    """
    meta: dict[str, Any] = {"epoch": 12, "iter": 87960, "CLASSES": ("person", "bicycle"), "config": "model = dict()"}
    content: dict[str, Any] = {"meta": meta, "state_dict": OrderedDict(weights), "optimizer": {"state": {}}}
    if kind == "mmengine":
        meta["seed"] = np.int64(7)
        content["message_hub"] = {"log_scalars": OrderedDict(loss=history_buffer())}
    torch.save(content, path, _use_new_zipfile_serialization=kind != "authors")
    return path


def imported(weights: dict[str, Tensor], preset: str = "r50_1x") -> Model:
    """What ``ldie import`` makes of a file of the narrow network."""
    return convert(SMALL, preset, weights, Path("model.pth"))
