"""The examples in the docstrings run, and the data layer stands without the operators."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import ldie.tasks.detection
import pytest


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(ldie.tasks.detection.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"ldie.tasks.detection.{name}")).failed == 0


def test_does_not_load_the_operators() -> None:
    code = "import sys, ldie.tasks.detection; sys.exit('ldie_ext.ops' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
