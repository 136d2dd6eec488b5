# SPDX-License-Identifier: Apache-2.0
"""Which editing data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ldie.config import Count, DatasetConfig, Positive, Seed

GENERATED = "synedit"
"""The name of generated requests."""


@dataclass(frozen=True)
class EditDataConfig(DatasetConfig):
    """Which data; ``categories``, ``drop_empty`` and ``aspect_grouping`` are not of this task."""

    root: str = GENERATED
    """``synedit``, or a folder of MA5k-Req or GIER (docs/editing.md)."""
    train: str = "train"
    val: str = "val"
    cache: str = ""
    """Folder to keep generated requests in, for several runs; empty: the work folder."""
    seed: Seed = 0
    """Of generated requests, so that runs of different seeds learn from the same."""
    count: Positive = 8000
    """Generated requests to train on."""
    val_count: Positive = 600
    """Generated requests of each other split."""
    size: Positive = 32
    """Pixels along each side of generated pictures."""
    local: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the generated requests that act in a region."""
    mode: str = "full"
    """Of GIER: only pairs of these kinds, joined by ``+``: ``global+shapeAlign``."""
    splits: str = ""
    """Folder with other splits of a folder's data, such as ``ldie split`` writes; empty: those that it came with."""
    plans: str = ""
    """Of a folder: file of planned steps to learn from, or folder of MA5k-Req's published ones."""
    min_count: Count = 3
    """Words that the requests have less often are unknown."""
    class_names: str = ""
    """Annotation file in COCO's format, also of panoptic ones, whose names of classes are known words, too."""
    vocabulary: str = ""
    """File of a published vocabulary to take in place of the requests' words, as with the vectors that came with it."""


@dataclass(frozen=True)
class JudgedDataConfig(EditDataConfig):
    """Which data, for models that judge answers."""

    negatives: bool = True
    """Evaluate on as many pictures and requests that do not fit as there are ones that do; false: on the latter."""
