"""torch.jit makes the same of torchvision's models, patched or not, and what it made goes on working."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from ldie_ext.compat.torchvision import patch, unpatch

detection = pytest.importorskip("torchvision.models.detection")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")

Made = Callable[[Tensor], tuple[Tensor, Tensor]]


class Detect(nn.Module):
    """A small detector as torch.jit.trace takes it: a tensor in, tensors out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        few = {"rpn_pre_nms_top_n_test": 50, "rpn_post_nms_top_n_test": 20, "min_size": 64, "max_size": 96}
        self.model = detection.fasterrcnn_mobilenet_v3_large_fpn(
            weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0.0, **few
        ).eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model([image])[0]
        return found["boxes"], found["scores"]


@pytest.fixture(scope="module")
def detect() -> Detect:
    return Detect()


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield
    unpatch()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 64, 80)


def traced(detect: Detect, image: Tensor) -> Made:
    made = torch.jit.trace(detect, image, check_trace=False)
    assert "torchvision::nms" in str(made.inlined_graph)
    assert "ldie_ext::" not in str(made.inlined_graph)
    return made


def scripted(detect: Detect, image: Tensor) -> Made:
    made = torch.jit.script(detect.model)
    assert "ldie_ext::" not in str(made.inlined_graph)

    def call(image: Tensor) -> tuple[Tensor, Tensor]:
        found = made([image])[1][0]
        return found["boxes"], found["scores"]

    return call


@pytest.mark.parametrize("make", [traced, scripted])
@pytest.mark.parametrize("patched_when_made", [False, True])
@pytest.mark.parametrize("patched_when_called", [False, True])
def test_same_detections(
    make: Callable[[Detect, Tensor], Made], patched_when_made: bool, patched_when_called: bool, detect: Detect,
    image: Tensor,
) -> None:  # fmt: skip
    expected = detect(image)
    assert len(expected[0]) > 20
    switch(patched_when_made)
    made = make(detect, image)
    switch(patched_when_called)
    torch.testing.assert_close(made(image), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(detect(image), expected, rtol=1e-4, atol=1e-4)


def switch(patched: bool) -> None:
    (patch if patched else unpatch)()
