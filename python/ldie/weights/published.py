# SPDX-License-Identifier: Apache-2.0
"""Weights that others trained and published, and what they become here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ldie.weights.names import NameTable


@dataclass(frozen=True)
class Published:
    """Weights that others trained and published for the networks of a preset, and what they become here."""

    names: NameTable
    """From the names in a file to the model's."""
    facts: Callable[[Mapping[str, Tensor]], Mapping[str, Any]]
    """What a model must know of the data (its :data:`ldie.contract.Facts`), from a file's tensors by name."""
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    """What conventions change: given the tensors under the model's names, the model's tensors."""
