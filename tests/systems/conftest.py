"""What the tests of all systems share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks of these tests are too small to gain from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A small selection of COCO, which is not part of the project."""
    shared = os.environ.get("LDIE_SHARED") or Path(__file__).parents[3] / "shared"
    root = Path(shared) / "data" / "coco_free"
    if not root.is_dir():
        pytest.skip(f"no photographs at {root}")
    return root
