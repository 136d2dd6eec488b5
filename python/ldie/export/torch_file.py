# SPDX-License-Identifier: Apache-2.0
"""What torch.export writes: a graph of torch's operators and ldie_ext's, for programs with both."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ldie.errors import ExportError
from ldie.export.exportable import Exportable, Format, Run
from ldie.files import first_line

NOTES = "ldie.json"
"""The extra file that holds the notes."""


def trace(exportable: Exportable) -> ExportedProgram:
    """The graph as torch.export records it on the first example.

    Raises:
        ExportError: It cannot be recorded.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch to itself
            program = torch.export.export(exportable.graph, exportable.examples[0].inputs)
    except Exception as error:  # it lets through whatever its parts raise
        raise ExportError(f"torch.export cannot record this model ({first_line(error)}); report it") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names the folders of this machine
    return program


def _convert(exportable: Exportable, notes: Mapping[str, Any]) -> Callable[[Path], None]:
    program = trace(exportable)
    program.example_inputs = None  # they would go into the file

    def write(path: Path) -> None:
        with path.open("wb") as file, warnings.catch_warnings():  # opened here, whatever the name
            warnings.simplefilter("ignore")  # it misses "complete" tensors where memory is channels-last
            torch.export.save(program, file, extra_files={NOTES: json.dumps(notes)})

    return write


def _load(path: Path) -> Run:
    with path.open("rb") as file:
        graph = torch.export.load(file).module()

    def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.no_grad():
            return graph(*inputs)

    return run


FORMAT = Format(packages=(), convert=_convert, runner="torch", load=_load)
