# SPDX-License-Identifier: Apache-2.0
"""Weights to start from: the extractor of scale 0 for all scales, and the detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ldie.nn.weights import copy_fitting, copy_whole, under
from ldie.weights import read_weights

SOURCE = "extractors.0."
"""Every extractor starts from that of scale 0: the large images teach the most."""


def load_imagenet_pretrained(extractors: nn.ModuleDict, path: Path) -> None:
    """Starts all extractors from a file that holds one, as ``extractors.0.NAME``.

    Raises:
        CheckpointError: The file cannot be read, or its extractor has other layers than one of these.
    """
    _load_extractors(extractors, read_weights(path), path)


def load_pretrained(extractors: nn.ModuleDict, detector: nn.Module, path: Path) -> None:
    """Starts all extractors and the detector from an earlier run.

    Heads for another number of classes start afresh, and so does the discriminator.

    Raises:
        CheckpointError: The file cannot be read, its extractor has other layers than one of these, or nothing fits the
            detector.
    """
    weights = read_weights(path)
    _load_extractors(extractors, weights, path)
    copy_fitting(detector, under(weights, "detector."), f"{path}: detector")


def _load_extractors(extractors: nn.ModuleDict, weights: Mapping[str, Tensor], path: Path) -> None:
    source = under(weights, SOURCE)
    for scale, extractor in extractors.items():
        copy_whole(extractor, source, f"{path}: {SOURCE}* for scale {scale}")
