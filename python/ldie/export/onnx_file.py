# SPDX-License-Identifier: Apache-2.0
"""ONNX: one file of standard operators, for onnxruntime and others."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ldie.errors import ExportError
from ldie.export.exportable import Exportable, Format, Run
from ldie.export.torch_file import trace
from ldie.files import first_line


def _convert(exportable: Exportable, notes: Mapping[str, Any]) -> Callable[[Path], None]:
    from ldie.export.operators import OPSET, translations  # with onnxscript

    program, known = trace(exportable), translations()
    _check_operators(program, known)
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx"), _quiet("onnx_ir"), _quiet("onnxscript"):
            warnings.simplefilter("ignore")  # of torch to itself
            converted = torch.onnx.export(
                program,
                input_names=exportable.inputs,
                output_names=exportable.outputs,
                opset_version=OPSET,
                custom_translation_table=known,
                verbose=False,
            )
    except Exception as error:  # its own errors have causes of every kind
        raise ExportError(f"this model has no ONNX form ({_reason(error)}); use --format torch.export") from error
    assert converted is not None  # as no file is named
    texts = {name: note if isinstance(note, str) else json.dumps(note) for name, note in notes.items()}
    converted.model.metadata_props.update(texts)
    for node in converted.model.graph.all_nodes():
        node.metadata_props.clear()  # from where in which source file it comes: as much as the rest of the graph

    def write(path: Path) -> None:
        converted.save(path, external_data=False)

    return write


def _check_operators(program: ExportedProgram, known: Collection[Any]) -> None:
    """All of ldie_ext's operators at once; the exporter would name the first it comes to."""
    called = {node.target for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    missing = sorted(
        f"ldie_ext.{op.name().partition('::')[2]}" for op in called - set(known) if op.namespace == "ldie_ext"
    )
    if missing:
        raise ExportError(f"this model has no ONNX form, nor have {', '.join(missing)}; use --format torch.export")


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Context without the exporter's warnings, such as that it cannot translate torchvision's operators."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """What it was that failed at the bottom."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _load(path: Path) -> Run:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        if type(error).__name__ == "NotImplemented":
            raise NotImplementedError(first_line(error)) from error
        raise ExportError(f"onnxruntime does not take it ({first_line(error)})") from error
    names = [value.name for value in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        values = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        try:
            outputs = session.run(None, values)
        except Exception as error:  # as above
            raise ExportError(f"onnxruntime cannot run it ({first_line(error)})") from error
        return [torch.from_numpy(output) for output in outputs]

    return run


FORMAT = Format(packages=("onnx", "onnxscript"), convert=_convert, runner="onnxruntime", load=_load)
