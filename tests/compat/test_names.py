"""The names of ldie_ext.compat.torchvision, and what happens without torchvision."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import pytest
import torch

from ldie_ext.compat import torchvision as compat


def test_public_names_exist() -> None:
    assert sorted(compat.__all__) == list(compat.__all__)
    assert set(compat.__all__) <= vars(compat).keys()  # hasattr would find torchvision's too


@pytest.mark.parametrize("name", compat.__all__)
def test_documented(name: str) -> None:
    assert inspect.getdoc(getattr(compat, name))


@pytest.mark.parametrize("name", ["BoxCoder", "Matcher"])
def test_examples_run(name: str) -> None:
    examples = doctest.DocTestFinder().find(getattr(compat, name), globs={**vars(compat), "torch": torch})
    assert any(example.examples for example in examples)
    runner = doctest.DocTestRunner()
    assert all(runner.run(example).failed == 0 for example in examples)


WITHOUT_TORCHVISION = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torchvision":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import torch
from ldie_ext.compat import torchvision as compat

boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0]])
assert compat.nms(boxes, torch.tensor([0.5, 0.9]), 0.5).tolist() == [1]
for attempt in (compat.patch, lambda: compat.roi_pool):
    try:
        attempt()
    except ImportError as error:
        print(error)
"""


def test_torchvision_is_not_needed() -> None:
    code = [sys.executable, "-c", WITHOUT_TORCHVISION]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "patch() is for torchvision, and torchvision is not installed"
    assert "roi_pool is not among the names" in second


def test_other_names_are_torchvisions() -> None:
    ops = pytest.importorskip("torchvision").ops
    assert compat.roi_pool is ops.roi_pool
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = compat.nonsense
