# SPDX-License-Identifier: Apache-2.0
"""A file appears when it has been compared with the model, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from ldie.errors import CheckpointError, ConfigError, ExportError
from ldie.export import write as module
from ldie.export.exportable import Example, Exportable, Format
from ldie.export.write import find_format, write
from torch import Tensor, nn


def compare(outputs: Sequence[Tensor]) -> str:
    if outputs[0] != 2:
        raise ExportError(f"{outputs[0]} instead of 2")
    return "2"


EXPORTABLE = Exportable(nn.Identity(), ("in",), ("out",), [Example("one", (torch.ones(1),), compare)], {})
SUM = Format(
    packages=(),
    convert=lambda exportable, notes: lambda path: path.write_text(notes["term"]),
    runner="torch",
    load=lambda path: lambda inputs: [inputs[0] + int(path.read_text())],
)


@pytest.fixture(autouse=True)
def messages(monkeypatch, caplog):
    monkeypatch.setattr(module.logger, "propagate", True)
    caplog.set_level("INFO", "ldie")
    return caplog


def test_the_file_is_compared_and_there(tmp_path, messages):
    write(EXPORTABLE, SUM, tmp_path / "a" / "sum", {"term": "1"})
    assert (tmp_path / "a" / "sum").read_text() == "1"
    assert messages.messages[0] == f"the same in torch {metadata.version('torch')}, on one: 2"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_that_computes_something_else_does_not_stay(tmp_path, before):
    path = tmp_path / "sum"
    if before:
        path.write_text(before)
    with pytest.raises(ExportError, match=r"sum: not written, it would not be the model \(.*6.* instead of 2\)"):
        write(EXPORTABLE, SUM, path, {"term": "5"})
    assert [file.read_text() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write(EXPORTABLE, SUM, tmp_path / "file" / "sum", {"term": "1"})


def test_where_nothing_runs_it_that_is_said(tmp_path, messages):
    write(EXPORTABLE, replace(SUM, runner="nowhere_to_be_found"), tmp_path / "sum", {"term": "5"})
    assert messages.messages[0] == (
        "not checked: nowhere_to_be_found is not installed; pip install nowhere_to_be_found"
    )
    assert (tmp_path / "sum").read_text() == "5"


def test_where_the_runner_lacks_an_operator_that_is_said(tmp_path, messages):
    def load(path: Path):
        raise NotImplementedError("no DeformConv")

    write(EXPORTABLE, replace(SUM, load=load), tmp_path / "sum", {"term": "5"})
    assert messages.messages[0] == (
        f"not checked: torch {metadata.version('torch')} lacks an operator (no DeformConv); pip install --upgrade torch"
    )
    assert (tmp_path / "sum").exists()


def test_missing_packages_are_named_before_anything_is_done(monkeypatch):
    monkeypatch.setattr(module, "is_installed", lambda package: package != "onnxscript")
    with pytest.raises(ConfigError, match=r"^--format onnx needs onnxscript; pip install onnx onnxscript$"):
        find_format("onnx")
    assert find_format("torch.export").packages == ()
