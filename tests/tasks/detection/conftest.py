"""Data sets for the tests of the detection task."""

from __future__ import annotations

from pathlib import Path

import pytest
from ldie.tasks.detection import CocoDataset, build_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shapes(tmp_path_factory.mktemp("data") / "shapes", train=60, val=20)


@pytest.fixture(scope="session")
def hard_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shapes(tmp_path_factory.mktemp("data") / "shapes-hard", hard=True, train=120, val=20)


@pytest.fixture(scope="session")
def hard(hard_shapes: Path) -> CocoDataset:
    return CocoDataset(hard_shapes, "train2017")
