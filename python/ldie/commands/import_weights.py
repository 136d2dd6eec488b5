# SPDX-License-Identifier: Apache-2.0
"""``ldie import``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ldie.config import to_dict
from ldie.contract import Model, System
from ldie.engine import checkpoint
from ldie.engine.environment import versions
from ldie.engine.log import configure_console, logger
from ldie.errors import CheckpointError, ConfigError, short
from ldie.files import is_same_file
from ldie.nn.weights import copy_whole
from ldie.systems import get_system
from ldie.weights import read_weights
from ldie.weights.names import COUNTERS
from ldie.weights.published import Published


def import_weights(options: argparse.Namespace) -> int:
    """Writes weights that others published as a checkpoint of ours."""
    configure_console(options.debug)
    if is_same_file(options.out, options.file):
        raise ConfigError(f"--out must be another file than {options.file}, which stays as it is")
    system = get_system(options.system)
    model = convert(system, options.preset, read_weights(options.file), options.file)
    header = checkpoint.Header(system.name, to_dict(model.config), dict(model.facts), step=0, versions=versions())
    checkpoint.save_weights(options.out, model.state_dict(), header)
    logger.info(
        "%s: %d tensors, %d classes: %s",
        options.out, len(model.state_dict()), len(model.facts["classes"]), short(model.facts["classes"]),
    )  # fmt: skip
    return 0


def convert(system: System, preset: str | None, weights: Mapping[str, Tensor], origin: Path) -> Model:
    """The model of published weights.

    Args:
        system: Whose model.
        preset: The networks that they are for; None: the first that the system has published weights for.
        weights: Under their published names.
        origin: Their file, for messages.

    Raises:
        ConfigError: There are no published weights for this preset.
        CheckpointError: Tensors are missing, have other shapes, or belong to another network.
    """
    preset, published = _published(system, preset)
    facts = published.facts(weights)
    system.task.validate(facts)
    model = system.model.from_config(system.preset(preset), facts)
    own = model.state_dict()
    renamed, unknown = published.names.rename_all(weights)
    tensors = published.adapt(renamed)
    differences = _differences(own, tensors, unknown, _spelling(published, weights))
    if differences:
        raise CheckpointError(
            f"{origin}: not the weights of {system.name}'s {preset} ({differences}); give a file of that network"
        )
    counters = {name: torch.zeros_like(value) for name, value in own.items() if name.endswith(COUNTERS)}
    copy_whole(model, counters | tensors, str(origin))
    return model


def _published(system: System, preset: str | None) -> tuple[str, Published]:
    if not system.published:
        raise ConfigError(f"{system.name} has no published weights to import; train it")
    preset = preset or next(iter(system.published))
    if preset not in system.published:
        known = ", ".join(system.published)
        raise ConfigError(f"there are no published weights of {system.name} for preset {preset!r}; known: {known}")
    return preset, system.published[preset]


def _spelling(published: Published, weights: Mapping[str, Tensor]) -> Callable[[str], str]:
    """From the model's names to those that a file has for them, or would have."""
    names, back = {published.names.rename(name): name for name in weights}, published.names.inverse()
    return lambda name: names.get(name) or back.rename(name) or name


def _differences(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], unknown: list[str], spelled: Callable[[str], str]
) -> str:
    """What keeps tensors from being a model's, under the names of the file; empty if nothing does."""
    missing = [spelled(name) for name in own if name not in given and not name.endswith(COUNTERS)]
    unknown = unknown + [spelled(name) for name in given if name not in own]
    shapes = [
        f"{spelled(name)} {list(value.shape)} instead of {list(own[name].shape)}"
        for name, value in given.items()
        if name in own and value.shape != own[name].shape
    ]
    found = {"missing": missing, "not in it": unknown, "other shapes": shapes}
    return "; ".join(f"{what}: {short(names)}" for what, names in found.items() if names)
