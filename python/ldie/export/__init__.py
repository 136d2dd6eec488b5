# SPDX-License-Identifier: Apache-2.0
"""Models as files that run without this package's layers: formats by name, their modules imported when asked for."""

from __future__ import annotations

FORMATS = {"torch.export": "ldie.export.torch_file", "onnx": "ldie.export.onnx_file"}
"""Modules that have a ``FORMAT``."""
