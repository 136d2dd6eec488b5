# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import ldie.tasks.editing
import pytest


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(ldie.tasks.editing.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"ldie.tasks.editing.{name}")).failed == 0
