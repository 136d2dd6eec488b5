# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights: reading files of tensors, and copying parts of them into networks."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ldie.errors import CheckpointError
from ldie.files import first_line, foreign_kind

logger = logging.getLogger("ldie")

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the weights in a file that has more."""
PREFIXES = ("module.", "model.")
"""What DistributedDataParallel and training scripts put before every name."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of one that torch.save wrote, by name; no code it might hold is run.

    Raises:
        CheckpointError: The file is missing, damaged, or holds more than tensors.
    """
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = foreign_kind(path, pickles=path.suffix == ".safetensors") or first_line(error)
        raise CheckpointError(f"{path}: no readable weights ({reason}); give a .safetensors or .pth file") from error
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"{path}: holds no named tensors; give a .safetensors or .pth file of weights")
    for prefix in PREFIXES:
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def copy_whole(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Copies all weights of a network.

    Raises:
        CheckpointError: Names or shapes differ; the message begins with ``what``.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        missing, extra = _differences(network, weights)
        raise CheckpointError(
            f"{what}: these weights are of another network (missing: {missing}; not in it: {extra}); "
            "use the configuration they were made with"
        ) from error


def copy_fitting(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Copies the weights whose names and shapes fit, and logs what is left out.

    Raises:
        CheckpointError: None fits; the message begins with ``what``.
    """
    own = network.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise CheckpointError(f"{what}: none of its {len(weights)} weights fits; use another file or configuration")
    network.load_state_dict(fitting, strict=False)
    fresh = [name for name in own if name not in fitting]
    if fresh:
        logger.warning("%s: %d of %d weights start afresh: %s", what, len(fresh), len(own), _short(fresh))


def _load_torch(path: Path) -> Mapping[str, Any]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"expected weights by name, got {type(content).__name__}")
    return content


def _differences(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, str]:
    """Names, with shapes, that only the network or only the weights have."""
    own = {f"{name} {list(value.shape)}" for name, value in network.state_dict().items()}
    given = {f"{name} {list(value.shape)}" for name, value in weights.items()}
    return _short(sorted(own - given)), _short(sorted(given - own))


def _short(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
