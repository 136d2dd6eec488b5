"""Every op with a twin in torchvision gives what torchvision gave: values and gradients, without torchvision."""

from __future__ import annotations

import pytest
import torch
from compat.recorded import CASES, OURS, recorded, torchvisions

from ldie_ext.compat import torchvision as compat

SAME_AS = {"RoIAlign": "roi_align", "DeformConv2d": "deform_conv2d", "BoxCoder": "encode"}
SWITCH = {"patch", "patched", "unpatch"}


def test_every_name_is_recorded() -> None:
    names = {SAME_AS.get(name, name) for name in compat.__all__ if name not in SWITCH}
    assert names <= CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_equals_what_torchvision_gave(name: str) -> None:
    inputs, expected = recorded(name)
    torch.testing.assert_close(CASES[name].run(OURS, inputs), expected, rtol=2e-5, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("name", CASES)
def test_torchvision_gives_it_still(name: str) -> None:
    pytest.importorskip("torchvision")
    inputs, expected = recorded(name)
    torch.testing.assert_close(CASES[name].run(torchvisions(), inputs), expected, rtol=1e-5, atol=1e-5, equal_nan=True)
