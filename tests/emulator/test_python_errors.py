"""The emulator's errors reach Python through the ops of ldie_ext: as RuntimeError, with their text."""

from __future__ import annotations

import pytest
import torch
from conftest import EMULATED, Backend
from emulator.harness import schedule

import ldie_ext


@pytest.mark.parametrize("backend", [EMULATED], indirect=True, ids=["emulated"])
def test_error_of_a_launch_is_a_runtime_error_with_its_text(backend: Backend) -> None:
    boxes = torch.tensor([[1.0, 1.0, 5.0, 6.0]])
    arguments = (boxes, torch.tensor([0]), torch.tensor([0, 1]), 1, (8, 8))
    with schedule("sideways"), pytest.raises(RuntimeError, match=r"SIMT_SCHEDULE must be .* not 'sideways'"):
        ldie_ext.box_class_masks(*arguments)
    assert ldie_ext.box_class_masks(*arguments).sum() == 20
