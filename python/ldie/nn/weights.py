# SPDX-License-Identifier: Apache-2.0
"""Weights by name: parts of them, and copying them into networks."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from ldie.errors import CheckpointError, short

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
        logger.warning("%s: %d of %d weights start afresh: %s", what, len(fresh), len(own), short(fresh))


def _differences(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, str]:
    """Names, with shapes, that only the network or only the weights have."""
    own = {f"{name} {list(value.shape)}" for name, value in network.state_dict().items()}
    given = {f"{name} {list(value.shape)}" for name, value in weights.items()}
    return short(sorted(own - given)), short(sorted(given - own))
