"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import ldie.tasks.detection
import pytest


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(ldie.tasks.detection.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"ldie.tasks.detection.{name}")).failed == 0
