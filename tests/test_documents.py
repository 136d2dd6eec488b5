"""Every block of Python in README.md and docs/ runs as it stands, in an interpreter of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from documents import DOCUMENTS, missing_packages, python_blocks, run_clean

BLOCKS = [
    pytest.param(code, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, code in enumerate(python_blocks(document))
    if "runs/" not in code  # reads a trained run: tests/systems have some
]

#: What people write after `import ldie_ext` alone.
ATTRIBUTES = [
    "nms",
    "coco.mask.area",
    "compat.torchvision.nms",
    "compat.torchvision.patch",
    "info.main",
    "nn.RoIAlign",
]


@pytest.mark.parametrize("code", BLOCKS)
def test_block_runs(code: str, tmp_path: Path) -> None:
    missing = missing_packages(code)
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    if '"cuda"' in code and not torch.cuda.is_available():
        pytest.skip("no GPU")
    run_clean(code, tmp_path)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_modules_need_no_import_of_their_own(name: str, tmp_path: Path) -> None:
    assert run_clean(f"import ldie_ext; print(callable(ldie_ext.{name}))", tmp_path) == "True\n"


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    """__getattr__ of a module is slow; a second look-up does not come to it."""
    code = "import ldie_ext; ldie_ext.nms; ldie_ext.nn; print({'nms', 'box_iou', 'nn'} <= vars(ldie_ext).keys())"
    assert run_clean(code, tmp_path) == "True\n"


def test_masks_stay_free_of_torch(tmp_path: Path) -> None:
    code = "import sys, ldie_ext; ldie_ext.coco.mask.area; print('torch' in sys.modules)"
    assert run_clean(code, tmp_path) == "False\n"
