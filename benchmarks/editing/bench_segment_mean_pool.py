"""segment_mean_pool: the features of 100 panoptic segments, of a head's map and of a detector's finest level."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import Tensor

import ldie_ext

SEGMENTS = 100
#: A residual network's last but one map, and a pyramid's level of stride 8, both of images of 800 x 1344.
SHAPES = [(2, 1024, 50, 84), (2, 256, 100, 168)]


def panoptic(batch: int, height: int, width: int, device: torch.device) -> Tensor:
    """Each pixel belongs to the nearest of some points, and one in ten to nothing."""
    points = torch.rand(batch, SEGMENTS, 2) * torch.tensor([height, width])
    cells = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1).flatten(0, 1)
    ids = torch.cdist(cells.float().expand(batch, -1, -1), points).argmin(2).view(batch, height, width)
    return torch.where(ids < SEGMENTS // 10, -1, ids).to(device)


def index_add(features: Tensor, segments: Tensor) -> Tensor:
    """Rows of pixels are added to their segments' rows; one more row takes what belongs to none."""
    batch, channels = features.shape[:2]
    rows = torch.where(segments < 0, SEGMENTS, segments).flatten(1)
    flat = (rows + torch.arange(batch, device=rows.device)[:, None] * (SEGMENTS + 1)).flatten()
    pixels = features.permute(0, 2, 3, 1).reshape(-1, channels)
    sums = pixels.new_zeros(batch * (SEGMENTS + 1), channels).index_add(0, flat, pixels)
    counts = torch.bincount(flat, minlength=len(sums)).clamp(min=1)
    return (sums / counts[:, None]).view(batch, SEGMENTS + 1, channels)[:, :-1]


def scatter_add(features: Tensor, segments: Tensor) -> Tensor:
    batch, channels = features.shape[:2]
    rows = torch.where(segments < 0, SEGMENTS, segments).flatten(1)
    sums = features.new_zeros(batch, channels, SEGMENTS + 1)
    sums = sums.scatter_add(2, rows[:, None].expand(-1, channels, -1), features.flatten(2))
    counts = sums.new_zeros(batch, SEGMENTS + 1).scatter_add(1, rows, sums.new_ones(rows.shape)).clamp(min=1)
    return (sums / counts[:, None])[..., :-1].mT


def one_hot(features: Tensor, segments: Tensor) -> Tensor:
    """A product of matrices: as many multiplications as pixels times segments times channels."""
    members = (segments.flatten(1)[:, None] == torch.arange(SEGMENTS, device=segments.device)[:, None]).to(features)
    return members @ features.flatten(2).mT / members.sum(2, keepdim=True).clamp(min=1)


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "index_add": index_add, "scatter_add": scatter_add, "one-hot product": one_hot,
}  # fmt: skip


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward and backward"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def bench_segment_mean_pool(
    measure: harness.Measure, shape: tuple[int, ...], backward: bool, form: str, memory_format: torch.memory_format
) -> None:
    batch, channels, height, width = shape
    segments = panoptic(batch, height, width, measure.device)
    features = torch.randn(shape, device=measure.device).to(memory_format=memory_format).requires_grad_(backward)
    grad = torch.randn(batch, SEGMENTS, channels, device=measure.device)

    def step(function: Callable[[], Tensor]) -> Callable[[], object]:
        return (lambda: torch.autograd.grad(function(), features, grad)) if backward else function

    layout = "channels last" if memory_format is torch.channels_last else "channels first"
    measure(
        f"{'x'.join(map(str, shape))} {layout}, 100 segments, {'forward and backward' if backward else 'forward'}, "
        f"composed: {form}",
        ours=step(lambda: ldie_ext.segment_mean_pool(features, segments, SEGMENTS)),
        composed=step(lambda: FORMS[form](features, segments)),
        read_bytes=features.nbytes + segments.nbytes,
        written_bytes=features.nbytes if backward else grad.nbytes,
        memory=form == "index_add",
    )
