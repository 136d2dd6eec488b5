"""edit_distances: many candidates of one small pair, against closed forms and against edited images and their means."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from editing.bench_apply_edits import CHAIN, SIDE, composed, random_params
from torch import Tensor

import ldie_ext

AT_ONCE = 64  # candidates that other forms hold edited images of


def by_blocks(edit: Callable[[Tensor, Tensor], Tensor], image: Tensor, target: Tensor, params: Tensor) -> Tensor:
    """L1 of all candidates by edited images of some of them at a time, which is how they stay in the cache."""
    distances = []
    for rows in params.split(AT_ONCE):
        edited = edit(image.expand(len(rows), -1, -1, -1), rows)
        distances.append((edited - target).abs().mean((1, 2, 3)))
    return torch.cat(distances)


@pytest.mark.parametrize("form", ["eager", "apply_edits"])
@pytest.mark.parametrize(
    ("count", "what"), [(1000, "forward"), (1000, "forward and backward"), (10000, "forward")],
    ids=["1000", "1000 and gradients", "10000"],
)  # fmt: skip
def bench_edit_distances(measure: harness.Measure, count: int, what: str, form: str) -> None:
    """Other forms: closed forms in PyTorch's operations, or apply_edits; then the mean of the difference."""
    image, target = torch.rand(2, 1, 3, SIDE, SIDE, device=measure.device)
    params = random_params(count, measure.device)
    ops = torch.tensor([CHAIN] * count, device=measure.device)
    backward = what != "forward"
    if backward:
        params.requires_grad_()

    def edit(images: Tensor, rows: Tensor) -> Tensor:
        if form == "eager":
            return composed(images, rows)
        return ldie_ext.apply_edits(images, ops[: len(rows)], rows)

    def step(function: Callable[[], Tensor]) -> Callable[[], object]:
        return (lambda: torch.autograd.grad(function().sum(), params)) if backward else function

    measure(
        f"{count} candidates of 128 x 128, five steps, {what}, against {form} and mean",
        ours=step(lambda: ldie_ext.edit_distances(image, target, ops[None], params[None])),
        composed=step(lambda: by_blocks(edit, image, target, params)),
        memory=count == 1000,
    )
