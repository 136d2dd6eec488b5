# SPDX-License-Identifier: Apache-2.0
"""Trained models without the training: from a checkpoint to a model on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ldie.config import RunConfig, merge
from ldie.contract import Model, System
from ldie.engine import checkpoint
from ldie.engine.checkpoint import Header
from ldie.errors import CheckpointError, ConfigError
from ldie.systems import get_system


@dataclass(frozen=True)
class Trained:
    """A model as a checkpoint holds it."""

    system: System
    model: Model
    """In eval mode, on its device."""
    header: Header


def load_checkpoint(path: Path, device: torch.device) -> Trained:
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
    checkpoint.put_weights(model, weights, path)
    return Trained(system, model.to(device).eval(), header)


def saved_config(system: System, header: Header, path: Path) -> RunConfig:
    """The configuration of a run, from one of its checkpoints.

    Raises:
        CheckpointError: It does not fit this version.
    """
    try:
        return merge(system.presets[system.default_preset], header.config)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its configuration does not fit this version of {header.system} ({error}); train again"
        ) from error
