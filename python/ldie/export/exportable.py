# SPDX-License-Identifier: Apache-2.0
"""What a model gives to be exported, and what a format makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

Run: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""A graph as a function: its outputs from its inputs."""


@dataclass(frozen=True)
class Example:
    """Inputs of a graph, and what to compare its outputs on them with."""

    name: str
    """For messages: ``noise``."""
    inputs: tuple[Tensor, ...]
    compare: Callable[[Sequence[Tensor]], str]
    """Says how near outputs are to the model's own answer; an :class:`ldie.errors.ExportError` says what differs."""


@dataclass(frozen=True)
class Exportable:
    """What of a model can leave as one graph of tensors, whose shapes are fixed."""

    graph: nn.Module
    """From tensors to a tuple of tensors, on the CPU and in eval mode."""
    inputs: tuple[str, ...]
    """Names, in the order in which the graph takes them."""
    outputs: tuple[str, ...]
    examples: Sequence[Example]
    """At least one; the graph is traced with the first."""
    facts: Mapping[str, Any]
    """What a program must know to use the graph, as JSON can hold it."""


@dataclass(frozen=True)
class Format:
    """A kind of file for graphs."""

    packages: tuple[str, ...]
    """What has to be installed to write it."""
    convert: Callable[[Exportable, Mapping[str, Any]], Callable[[Path], None]]
    """Given a graph and notes by name for the file, a function that writes the file."""
    runner: str
    """The package that runs it."""
    load: Callable[[Path], Run]
    """Reads a file back; a :class:`NotImplementedError` says what the runner lacks."""
