"""composite_masks: 100 maps of 100x168 to 800x1344, its 800x1333 to 480x640, against PyTorch's two resizings.

SOLO's last steps, of round objects of all sizes as a network draws them and of noise, which has no empty part. Composed
is the whole batch at once, the peer a loop over the masks as mmdetection's painters have it.
"""

from __future__ import annotations

from typing import Any

import harness
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ldie_ext

COUNT, CELLS, SIZE = 100, (100, 168), (480, 640)
STEPS: dict[str, Any] = {"between": (800, 1344), "crop": (800, 1333)}


def objects() -> Tensor:
    """Probabilities of ellipses with soft, rough edges, of which one covers a twentieth of the picture."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.arange(CELLS[0])[:, None], torch.arange(CELLS[1])
    middle = torch.rand(2, COUNT, 1, 1, generator=generator)
    radii = 4 + torch.tensor([30.0, 50.0]).view(2, 1, 1, 1) * torch.rand(2, COUNT, 1, 1, generator=generator).square()
    distance = ((y - CELLS[0] * middle[0]) / radii[0]).square() + ((x - CELLS[1] * middle[1]) / radii[1]).square()
    return torch.sigmoid(6 * (1 - distance) + 0.3 * torch.randn(COUNT, *CELLS, generator=generator))


def thresholded(maps: Tensor) -> Tensor:
    height, width = STEPS["crop"]
    between = F.interpolate(maps[:, None], size=STEPS["between"], mode="bilinear")[..., :height, :width]
    return F.interpolate(between, size=SIZE, mode="bilinear")[:, 0] > 0.5


def painted(masks: Tensor, scores: Tensor) -> Tensor:
    """The first of the ranked masks that has a pixel keeps it."""
    order = scores.argsort(descending=True, stable=True)
    ranked = masks[order]
    first = torch.where(ranked.any(0), ranked.byte().argmax(0), -1)
    result = torch.empty_like(masks)
    result[order] = first == torch.arange(len(masks), device=masks.device)[:, None, None]
    return result


def in_a_loop(maps: Tensor, scores: Tensor | None) -> Tensor:
    masks = torch.cat([thresholded(one[None]) for one in maps])
    if scores is None:
        return masks
    taken = torch.zeros(SIZE, dtype=torch.bool, device=maps.device)
    for row in scores.argsort(descending=True, stable=True):
        masks[row] &= ~taken
        taken |= masks[row]
    return masks


@pytest.mark.parametrize("kind", ["objects", "noise"])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("form", ["bool", "packed", "rle"])
def bench_composite_masks(measure: harness.Measure, form: str, exclusive: bool, kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(COUNT, generator=generator).to(measure.device)
    maps = (objects() if kind == "objects" else torch.rand(COUNT, *CELLS, generator=generator)).to(measure.device)
    options = STEPS | ({"scores": scores, "exclusive": True} if exclusive else {})
    form_option = {} if form == "bool" else {form: True}

    def composed() -> Tensor:
        masks = thresholded(maps)
        return painted(masks, scores) if exclusive else masks

    measure(
        f"{COUNT} {kind} to {SIZE[0]}x{SIZE[1]}, {form}{', exclusive' * exclusive}",
        ours=lambda: ldie_ext.composite_masks(maps, SIZE, **options, **form_option),
        composed=composed,
        peer=lambda: in_a_loop(maps, scores if exclusive else None),
        read_bytes=harness.bytes_of(maps),
        memory=True,
    )
