# SPDX-License-Identifier: Apache-2.0
"""Weights to start from, in any of the spellings that a system knows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from ldie.errors import CheckpointError, ConfigError, short
from ldie.nn.weights import copy_fitting
from ldie.weights import read_weights
from ldie.weights.names import NameTable

logger = logging.getLogger("ldie")


class Spelling(NamedTuple):
    """How others name the weights, and what else is different in them."""

    names: NameTable
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict


def start_from(model: nn.Module, path: str, spellings: Sequence[Spelling], parts: Sequence[str], frozen: int) -> None:
    """:func:`load_pretrained` where a file is named; where none is, a warning if parts of the backbone cannot learn.

    Args:
        model: With a backbone.
        path: ``solver.pretrained``.
        spellings: What the file may be in.
        parts: ``solver.pretrained_parts``.
        frozen: ``model.backbone.freeze_at``.
    """
    if path:
        load_pretrained(model, Path(path), spellings, parts)
    elif frozen:
        logger.warning(
            "model.backbone.freeze_at=%d keeps parts of the backbone as they are, which is at random; name weights to "
            "start from in solver.pretrained, or set it to 0",
            frozen,
            stacklevel=2,  # it is about the recipe's configuration
        )


def load_pretrained(model: nn.Module, path: Path, spellings: Sequence[Spelling], parts: Sequence[str] = ()) -> None:
    """Starts a model from weights in any of the spellings; what fits by name and shape is loaded, the rest is fresh.

    A list of both, and of what the file has besides, is logged.

    Args:
        model: Ours.
        path: The file.
        spellings: What it may be in.
        parts: Beginnings of our names of what to load, such as ``backbone``; none: all.

    Raises:
        ConfigError: Nothing in the model has such a name.
        CheckpointError: The file cannot be read, or nothing of it fits.
    """
    own = model.state_dict()
    for part in parts:
        if not any(name.startswith(part) for name in own):
            raise ConfigError(
                f"solver.pretrained_parts: no weight's name begins with {part!r}; use beginnings such as "
                f"{short(name for name, _ in model.named_children())}"
            )
    weights, unknown = _in_our_names(read_weights(path), own, spellings)
    wanted = {name: value for name, value in weights.items() if not parts or name.startswith(tuple(parts))}
    if not wanted:
        raise CheckpointError(f"{path}: has none of solver.pretrained_parts ({short(parts)}); load other parts")
    copy_fitting(model, wanted, str(path), unknown)


def _in_our_names(
    weights: dict[str, Tensor], own: dict[str, Tensor], spellings: Sequence[Spelling]
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights in the spelling that fits most of our own, and the names of those that it does not know."""

    def read(spelling: Spelling) -> tuple[dict[str, Tensor], list[str]]:
        renamed, unknown = spelling.names.rename_all(weights)
        return spelling.adapt(renamed), unknown

    def fitting(reading: tuple[dict[str, Tensor], list[str]]) -> int:
        return sum(name in own and own[name].shape == value.shape for name, value in reading[0].items())

    return max(map(read, spellings), key=fitting)
