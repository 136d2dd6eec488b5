"""torchvision's own models give the same on our ops, in less time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from compat.corners import Corners
from torch import nn

from ldie_ext.compat.torchvision import patched

pytest.importorskip("torchvision")
pytest.importorskip("pydantic")  # of ldie, which reads the photographs
from compat import detectors, profiling


class Setting:
    """A detector, built before anything is patched, with two photographs; in float64 with the first of them."""

    def __init__(self, name: str, root: Path, *, small: bool, dtype: torch.dtype = torch.float32) -> None:
        samples = detectors.photographs(root)[: 1 if dtype == torch.float64 else 2]
        self.images = [sample.image.to(dtype) / 255 for sample in samples]
        self.targets = [detectors.target(name, sample) for sample in samples]
        for target in self.targets:
            target["boxes"] = target["boxes"].to(dtype)
        self.model: nn.Module = detectors.build(name, self.images, small=small)

    def detect(self) -> list[detectors.Results]:
        return detectors.detect(self.model, self.images)

    def train_step(self) -> tuple[detectors.Results, detectors.Results]:
        return detectors.train_step(self.model, self.images, self.targets)


@dataclass(frozen=True)
class Step:
    losses: detectors.Results
    gradients: detectors.Results
    corners: Corners

    @classmethod
    def of(cls, setting: Setting, repeated: Corners | None = None) -> Step:
        with Corners(repeated.passed if repeated else None) as corners:
            return cls(*setting.train_step(), corners)


@pytest.fixture(scope="module", params=detectors.THRESHOLDS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["small", pytest.param("full", marks=pytest.mark.slow)])
def setting(request: pytest.FixtureRequest, name: str, photographs: Path) -> Setting:
    return Setting(name, photographs, small=request.param == "small")


@pytest.fixture(scope="module")
def theirs(setting: Setting) -> Step:
    return Step.of(setting)


@pytest.fixture(scope="module")
def ours(setting: Setting) -> Step:
    with patched():
        return Step.of(setting)


def test_detections_are_equal(setting: Setting) -> None:
    expected = setting.detect()
    assert all(len(image["boxes"]) >= 50 for image in expected)
    with patched():
        found = setting.detect()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_losses_are_equal(ours: Step, theirs: Step) -> None:
    torch.testing.assert_close(ours.losses, theirs.losses, rtol=1e-4, atol=1e-4)


def test_gradients_are_equal(ours: Step, theirs: Step) -> None:
    """As a whole. In single parameters one activation that a rounding moves over a ReLU's corner may be seen.

    Seen are 7e-4 of the whole and 2e-3 of a single parameter's gradient; at the same corners 4e-6 of any.
    """
    assert ours.gradients.keys() == theirs.gradients.keys()
    differences = {name: ours.gradients[name] - gradient for name, gradient in theirs.gradients.items()}
    assert whole_norm(differences) <= 1e-3 * whole_norm(theirs.gradients)


def test_gradients_are_equal_at_the_same_corners(setting: Setting, theirs: Step) -> None:
    """Each parameter's; and the corners' doing is rounding too, for what they let through otherwise is next to 0."""
    with patched():
        ours = Step.of(setting, theirs.corners)
    assert ours.corners.farthest <= 1e-6
    assert_gradients_close(ours.gradients, theirs.gradients, 1e-5)


def assert_gradients_close(ours: detectors.Results, theirs: detectors.Results, tolerance: float) -> None:
    """Each parameter's gradient within a tolerance of its norm, and a rounding of the whole gradient's norm.

    The latter is for gradients that are 0 and hold only what rounding left of them: of biases that a normalisation
    takes away again, and of the last one before a softmax over the map.
    """
    assert ours.keys() == theirs.keys()
    rounding = whole_norm(theirs) * torch.finfo(next(iter(theirs.values())).dtype).eps
    deviations = {name: (ours[name] - gradient).norm().item() for name, gradient in theirs.items()}
    allowed = {name: tolerance * gradient.norm().item() + rounding for name, gradient in theirs.items()}
    assert {name: (value, allowed[name]) for name, value in deviations.items() if not value <= allowed[name]} == {}


def whole_norm(values: detectors.Results) -> float:
    return math.hypot(*(value.norm().item() for value in values.values()))


@pytest.mark.slow
def test_gradients_are_equal_in_float64(name: str, photographs: Path) -> None:
    """No rounding moves anything over a corner here, and gradients too small for a check in float32 are checked."""
    setting = Setting(name, photographs, small=True, dtype=torch.float64)
    losses, gradients = setting.train_step()
    with patched():
        our_losses, our_gradients = setting.train_step()
    torch.testing.assert_close(our_losses, losses, rtol=1e-9, atol=1e-9)
    assert_gradients_close(our_gradients, gradients, 1e-9)


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
