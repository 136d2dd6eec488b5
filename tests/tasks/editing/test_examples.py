# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import ldie.tasks.editing
import pytest

MODULES = [module.name for module in pkgutil.walk_packages(ldie.tasks.editing.__path__, "ldie.tasks.editing.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
