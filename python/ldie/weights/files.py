# SPDX-License-Identifier: Apache-2.0
"""Tensors by name, from whatever file holds them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ldie.errors import CheckpointError
from ldie.files import first_line, foreign_kind
from ldie.weights.arrays import ARRAYS, Array
from ldie.weights.pickles import read_pickle
from ldie.weights.torch_files import ARCHIVE, is_legacy, read_archive, read_legacy

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the weights in a file that has more."""
PREFIXES = ("module.", "model.")
"""What DistributedDataParallel and training scripts put before every name."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; no code it might hold is run.

    Files are taken by how they begin, and those named ``.safetensors`` as what they say: safetensors, what torch.save
    wrote (today's archives and the files before torch 1.6), and pickles of arrays such as detectron2's. Weights may be
    one level down, under ``state_dict`` or ``model``; whatever else a file has is left out.

    Raises:
        CheckpointError: The file is missing, damaged, or holds objects that only code can make.
    """
    try:
        weights = _tensors(_unwrapped(_reader(path)(path)))
    except Exception as error:  # what damaged files end in, whoever reads them
        reason = foreign_kind(path, pickles=path.suffix == ".safetensors") or first_line(error)
        raise CheckpointError(f"{path}: no readable weights ({reason}); give a .safetensors or .pth file") from error
    if not weights:
        raise CheckpointError(f"{path}: holds no named tensors; give a .safetensors or .pth file of weights")
    for prefix in PREFIXES:
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors with names; all have as many numbers as their shape says."""
    weights = {}
    for name, value in content.items():
        tensor = value.tensor if isinstance(value, Array) else value
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            continue
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} of shape {list(tensor.shape)[:8]} is larger than its numbers")
        weights[name] = tensor
    return weights


def _reader(path: Path) -> Callable[[Path], Any]:
    with path.open("rb") as file:
        beginning = file.read(32)
    if path.suffix == ".safetensors" or beginning[8:9] == b"{":  # its first bytes are the length of a JSON text
        return load_file
    if beginning.startswith(ARCHIVE):
        return read_archive
    if is_legacy(beginning):
        return read_legacy
    if beginning.startswith(pickle.PROTO):
        return _read_arrays
    raise ValueError("neither safetensors nor a file of torch.save nor a pickle of protocol 2 to 5")


def _read_arrays(path: Path) -> Any:
    with path.open("rb") as file:
        return read_pickle(file, ARRAYS)


def _unwrapped(content: Any) -> Mapping[Any, Any]:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"expected weights by name, got {type(content).__name__}")
    return content
