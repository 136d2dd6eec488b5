"""multiscale_roi_align: RoIs of a box head (7 x 7) and a mask head (14 x 14) on a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from roi.pyramid import CHANNELS, RATIO, SCALES, Scene
from torch import Tensor

import ldie_ext

CASES = [(512, 7), (512, 14), (2000, 7), (2000, 14)]


def per_level(scene: Scene, size: int) -> Tensor:
    """The usual composed form: each level's boxes selected and pooled alone, the results put back in order."""
    image = torch.bucketize(torch.arange(scene.count, device=scene.device), scene.offsets[1:], right=True)
    rois = torch.cat([image[:, None].to(scene.boxes), scene.boxes], dim=1)
    side = ((scene.boxes[:, 2] - scene.boxes[:, 0]) * (scene.boxes[:, 3] - scene.boxes[:, 1])).sqrt()
    level = (4 + torch.log2(side / 224) + 1e-6).floor().clamp(2, 5) - 2
    output = scene.boxes.new_zeros(scene.count, CHANNELS, size, size)
    for i, (feature, scale) in enumerate(zip(scene.features, SCALES, strict=True)):
        (index,) = torch.where(level == i)
        output = output.index_put((index,), ldie_ext.roi_align(feature, rois[index], size, scale, RATIO))
    return output


def pooled(scene: Scene, size: int) -> Callable[[], Tensor]:
    return lambda: ldie_ext.multiscale_roi_align(scene.features, scene.boxes, scene.offsets, size, SCALES, RATIO)


def forward_backward(scene: Scene, forward: Callable[[], Tensor]) -> Callable[[], None]:
    def run() -> None:
        scene.clear()
        forward().sum().backward()

    return run


def without_gradient(forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return torch.no_grad()(forward)


def moved_bytes(scene: Scene, size: int, backward: bool) -> dict[str, int]:
    """What the boxes touch of the features, the output and its sum, and the gradients, which are dense."""

    def from_features(*features: Tensor) -> Tensor:
        return ldie_ext.multiscale_roi_align(features, scene.boxes, scene.offsets, size, SCALES, RATIO)

    read, output = harness.touched_bytes(from_features, *scene.features), 4 * scene.count * CHANNELS * size**2
    gradients = harness.bytes_of(scene.features)
    return {"read_bytes": read + backward * output, "written_bytes": output + backward * gradients}


@pytest.mark.parametrize(("count", "size"), CASES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
def bench_multiscale_roi_align(
    measure: harness.Measure, count: int, size: int, memory_format: torch.memory_format, backward: bool
) -> None:
    scene = Scene(count, measure.device, memory_format)
    wrap = (lambda forward: forward_backward(scene, forward)) if backward else without_gradient
    name = "channels last, " if memory_format is torch.channels_last else ""
    measure(
        f"{count} RoIs {size}x{size}, {name}{'forward+backward' if backward else 'forward'}",
        ours=wrap(pooled(scene, size)),
        composed=wrap(lambda: per_level(scene, size)),
        peer=harness.tv and wrap(scene.peer(size)),
        **moved_bytes(scene, size, backward),
        memory=backward,
    )
