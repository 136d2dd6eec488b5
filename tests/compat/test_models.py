"""torchvision's own models give the same on our ops, in less time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compat import detectors, profiling
from torch import nn

from ldie_ext.compat.torchvision import patched

pytest.importorskip("torchvision")


class Setting:
    """A detector, built before anything is patched, with two photographs."""

    def __init__(self, name: str, root: Path, *, small: bool, dtype: torch.dtype = torch.float32) -> None:
        samples = detectors.photographs(root)
        self.images = [sample.image.to(dtype) / 255 for sample in samples]
        self.targets = [detectors.target(name, sample) for sample in samples]
        for target in self.targets:
            target["boxes"] = target["boxes"].to(dtype)
        self.model: nn.Module = detectors.build(name, self.images, small=small)

    def detect(self) -> list[detectors.Results]:
        return detectors.detect(self.model, self.images)

    def train_step(self) -> tuple[detectors.Results, detectors.Results]:
        return detectors.train_step(self.model, self.images, self.targets)


@pytest.fixture(scope="module", params=detectors.THRESHOLDS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def setting(name: str, photographs: Path) -> Setting:
    return Setting(name, photographs, small=True)


def test_detections_are_equal(setting: Setting) -> None:
    expected = setting.detect()
    assert all(len(image["boxes"]) >= 50 for image in expected)
    with patched():
        found = setting.detect()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(without_ties(ours), without_ties(theirs), rtol=1e-4, atol=1e-4)


def without_ties(detections: detectors.Results) -> detectors.Results:
    """Equal scores in one order: torchvision sorts them unstably."""
    keys = torch.cat([-detections["scores"][:, None], detections["boxes"]], dim=1).tolist()
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return {name: values[order] for name, values in detections.items()}


def test_losses_are_equal(setting: Setting) -> None:
    losses, _ = setting.train_step()
    with patched():
        our_losses, _ = setting.train_step()
    torch.testing.assert_close(our_losses, losses, rtol=1e-4, atol=1e-4)


def test_gradients_are_equal(name: str, photographs: Path) -> None:
    """In float64: in float32 a rounding may move an activation over a ReLU's corner, whoever computes."""
    setting = Setting(name, photographs, small=True, dtype=torch.float64)
    losses, gradients = setting.train_step()
    with patched():
        our_losses, our_gradients = setting.train_step()
    torch.testing.assert_close(our_losses, losses, rtol=1e-9, atol=1e-9)
    assert our_gradients.keys() == gradients.keys()
    for parameter, gradient in gradients.items():
        largest = gradient.abs().max().item()
        torch.testing.assert_close(our_gradients[parameter], gradient, rtol=0, atol=1e-6 * largest + 1e-12)


@pytest.mark.slow
def test_replaced_ops_take_less_than_half_the_time(name: str, photographs: Path) -> None:
    setting = Setting(name, photographs, small=False)
    for step in (setting.detect, setting.train_step):
        theirs = profiling.time_in_replaced(step)
        with patched():
            profiling.time_in_replaced(step)  # the first call of an op does what later ones need not
            ours = profiling.time_in_replaced(step)
        report = "\n".join(f"{name:50} {theirs[name]:9.1f} {ours.get(name, 0.0):9.1f} ms" for name in theirs)
        ratio = sum(theirs.values()) / sum(ours.values())
        print(f"\n{step.__name__}: {ratio:.1f}x\n{report}")
        assert ratio >= 2
