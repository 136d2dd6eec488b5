"""torchvision's own models give the same on our ops, in less time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compat import detectors, profiling
from torch import Tensor, nn

from ldie_ext.compat.torchvision import patched

pytest.importorskip("torchvision")


class Setting:
    """A detector, built before anything is patched, with two photographs."""

    def __init__(self, name: str, root: Path, *, small: bool) -> None:
        samples = detectors.photographs(root)
        self.images = [sample.image.float() / 255 for sample in samples]
        self.targets = [detectors.target(name, sample) for sample in samples]
        self.model: nn.Module = detectors.build(name, self.images, small=small)

    def detect(self) -> list[detectors.Results]:
        return detectors.detect(self.model, self.images)

    def train_step(self) -> tuple[detectors.Results, detectors.Results]:
        return detectors.train_step(self.model, self.images, self.targets)


@pytest.fixture(scope="module", params=detectors.THRESHOLDS)
def setting(request: pytest.FixtureRequest, photographs: Path) -> Setting:
    return Setting(request.param, photographs, small=True)


def test_detections_are_equal(setting: Setting) -> None:
    expected = setting.detect()
    assert all(len(image["boxes"]) >= 50 for image in expected)
    with patched():
        found = setting.detect()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_losses_and_gradients_are_equal(setting: Setting) -> None:
    losses, gradients = setting.train_step()
    with patched():
        our_losses, our_gradients = setting.train_step()
    torch.testing.assert_close(our_losses, losses, rtol=1e-4, atol=1e-4)
    assert our_gradients.keys() == gradients.keys()
    noise = 1e-6 * max(gradient.abs().max() for gradient in gradients.values())  # biases before a norm have gradient 0
    worst = {name: relative(our_gradients[name], gradients[name], noise) for name in gradients}
    assert max(worst.values()) < 1e-3, max(worst.items(), key=lambda item: item[1])


def relative(found: Tensor, expected: Tensor, noise: Tensor) -> float:
    """The largest difference beyond noise, relative to the largest value."""
    return (((found - expected).abs().max() - noise) / expected.abs().max().clamp(min=1e-30)).item()


@pytest.mark.slow
@pytest.mark.parametrize("name", detectors.THRESHOLDS)
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
