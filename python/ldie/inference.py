# SPDX-License-Identifier: Apache-2.0
"""Trained models without the training: from a run, a file or a preset to a model on a device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ldie.config import RunConfig, merge
from ldie.contract import Facts, Model, System
from ldie.engine import checkpoint, distributed
from ldie.engine.checkpoint import Header
from ldie.errors import CheckpointError, ConfigError
from ldie.nn.weights import copy_whole
from ldie.systems import SYSTEMS, get_system

logger = logging.getLogger("ldie")


class Predictor(nn.Module):
    """A model that takes inputs as people have them and gives results as people want them.

    Args:
        system: Whose model it is.
        model: In eval mode, on its device.
        step: Training steps that the weights have seen.
        origin: Where the weights come from.
    """

    def __init__(self, system: System, model: Model, step: int, origin: str) -> None:
        super().__init__()
        self.system = system
        self.model = model
        self.step = step
        self.origin = origin
        self.eval()

    @property
    def facts(self) -> Facts:
        """What the model knows of its data: classes and the like."""
        return self.model.facts

    def forward(self, inputs: Any, batch_size: int = 1) -> list[Any]:
        """A result for each input.

        Args:
            inputs: One or a list; for detection images as paths, Pillow images, uint8 arrays [H,W,3] or tensors
                [3,H,W], for which the results are :class:`ldie.tasks.detection.Detections`.
            batch_size: How many go through the model together.
        """
        return self.system.task.infer(self.model, inputs, batch_size)


def load(source: str | Path, device: str | torch.device | None = None) -> Predictor:
    """See :func:`ldie.load`."""
    target = distributed.local_device(None if device is None else str(device))
    path = Path(source)
    name, _, preset = str(source).partition(":")
    if name not in SYSTEMS or path.exists():
        return load_checkpoint(checkpoint.find_weights(path), target)
    system = get_system(name)
    config = system.preset(preset or None)
    logger.warning("%s: fresh weights, nothing is trained; train it or load a checkpoint", source)
    model = system.model.from_config(config, system.task.facts_without_data(config))
    return Predictor(system, model.to(target), 0, str(source))


def load_checkpoint(path: Path, device: torch.device) -> Predictor:
    """The model of a weights file.

    Raises:
        CheckpointError: The file cannot be read or does not fit this version.
    """
    header, weights = checkpoint.load_weights(path)
    system = get_system(header.system)
    try:
        system.task.validate(header.facts)
    except ValueError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error}); train again or give another") from error
    model = system.model.from_config(saved_config(system, header, path), header.facts)
    copy_whole(model, weights, str(path))
    return Predictor(system, model.to(device), header.step, str(path))


def saved_config(system: System, header: Header, path: Path) -> RunConfig:
    """The configuration of a run, from one of its checkpoints.

    Raises:
        CheckpointError: It does not fit this version.
    """
    try:
        return merge(system.preset(), header.config)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its configuration does not fit this version of {header.system} ({error}); train again"
        ) from error
