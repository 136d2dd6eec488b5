# SPDX-License-Identifier: Apache-2.0
"""Weights by name: parts of them, and copying them into networks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ldie.console import printable
from ldie.errors import CheckpointError, short
from ldie.weights.names import COUNTERS

logger = logging.getLogger("ldie")


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


def copy_fitting(network: nn.Module, weights: Mapping[str, Tensor], what: str, unknown: Sequence[str] = ()) -> None:
    """Copies the weights whose names and shapes fit, and logs what is loaded, what starts afresh and what is left over.

    Args:
        network: Into which.
        weights: Under its names.
        what: Where they come from, for messages.
        unknown: Names of others that came with them, to be listed as left over.

    Raises:
        CheckpointError: None fits; the message begins with ``what``.
    """
    own = network.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise CheckpointError(f"{what}: none of its {len(weights)} weights fits; use another file or configuration")
    network.load_state_dict(fitting, strict=False)
    names = [name for name in own if not name.endswith(COUNTERS)]
    loaded, fresh = [name for name in names if name in fitting], [name for name in names if name not in fitting]
    logger.info("%s: %d of %d weights loaded: %s", what, len(loaded), len(names), _summary(names, loaded))
    shapes = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}" for name in fresh if name in weights
    ]
    if fresh:
        other = f" (other shapes: {short(shapes)})" if shapes else ""
        afresh = _summary(names, fresh) + other
        logger.warning("%s: %d of %d weights start afresh: %s", what, len(fresh), len(names), afresh)
    left = [*unknown, *(name for name in weights if name not in own)]
    if left:
        logger.info("%s: %d others are not used: %s", what, len(left), printable(short(left, 10)))


def _summary(names: Sequence[str], chosen: Sequence[str]) -> str:
    """Some of the names, in short: ``part.*`` where all that begins with ``part`` is among them."""
    others = [f"{name}." for name in set(names).difference(chosen)]
    found: dict[str, None] = {}
    for name in chosen:
        places = name.split(".")
        prefixes = (".".join(places[:depth]) + "." for depth in range(1, len(places)))
        whole = next((prefix for prefix in prefixes if not any(other.startswith(prefix) for other in others)), None)
        found[f"{whole}*" if whole else name] = None
    return ", ".join(found)


def _differences(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, str]:
    """Names, with shapes, that only the network or only the weights have."""
    own = {f"{name} {list(value.shape)}" for name, value in network.state_dict().items()}
    given = {f"{name} {list(value.shape)}" for name, value in weights.items()}
    return short(sorted(own - given)), short(sorted(given - own))
