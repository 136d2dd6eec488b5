"""grid_anchors: the feature pyramid of an 800 x 1344 image, five levels and three ratios."""

from __future__ import annotations

import harness
import torch

import ldie_ext
from ldie_ext.nn import AnchorGenerator

SIZES, RATIOS = ((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5
STRIDES = (4, 8, 16, 32, 64)
GRIDS = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
ANCHORS = 268_569


class Images:
    """A padded batch of one image, as torchvision's ImageList."""

    image_sizes = ((800, 1344),)

    def __init__(self, device: torch.device) -> None:
        self.tensors = torch.empty(1, 3, 800, 1344, device=device)


def bench_grid_anchors(measure: harness.Measure) -> None:
    device = measure.device
    peer = None
    if harness.torchvision:
        generator = harness.torchvision.models.detection.anchor_utils.AnchorGenerator(SIZES, RATIOS)
        generator.set_cell_anchors(torch.float32, device)
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in STRIDES]
        peer = lambda: generator.grid_anchors(GRIDS, strides)  # noqa: E731
    measure(
        f"{ANCHORS} anchors, levels apart",
        ours=lambda: ldie_ext.grid_anchors(SIZES, RATIOS, GRIDS, STRIDES, device=device),
        peer=peer,
        read_bytes=0,
        memory=True,
    )


def bench_anchor_generator(measure: harness.Measure) -> None:
    images, maps = Images(measure.device), [torch.empty(1, 1, *grid, device=measure.device) for grid in GRIDS]
    ours, peer = AnchorGenerator(SIZES, RATIOS), None
    if harness.torchvision:
        generator = harness.torchvision.models.detection.anchor_utils.AnchorGenerator(SIZES, RATIOS)
        peer = lambda: generator(images, maps)  # noqa: E731
    measure(f"{ANCHORS} anchors, module with its cache", ours=lambda: ours(images, maps), peer=peer)
