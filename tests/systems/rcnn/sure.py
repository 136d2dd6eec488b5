# SPDX-License-Identifier: Apache-2.0
"""Untrained detectors find nothing, or everything alike: their last layers made as sure as trained ones are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """Of a layer."""

    inputs: Any
    output: Any


def observe(model: nn.Module, layers: Iterable[str], run: Callable[[], object]) -> dict[str, list[Call]]:
    """The calls of layers while something runs."""
    seen: dict[str, list[Call]] = {layer: [] for layer in layers}

    def note(layer: str, _: nn.Module, inputs: Any, output: Any) -> None:
        seen[layer].append(Call(inputs, output))

    handles = [model.get_submodule(layer).register_forward_hook(partial(note, layer)) for layer in seen]
    run()
    for handle in handles:
        handle.remove()
    return seen


@torch.no_grad()
def settle(model: nn.Module, deviations: Mapping[str, float], run: Callable[[], object]) -> None:
    """Gives layers' outputs a mean of 0 by channel and these standard deviations (arXiv:1511.06422).

    The first call of each decides; networks whose outputs are nearly constant would tell little but roundings.
    """
    handles = {}

    def adapt(name: str, layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        handles.pop(name).remove()
        mean = output.mean([axis for axis in range(output.ndim) if axis != 1], keepdim=True)
        factor = deviations[name] / (output - mean).std()
        layer.get_parameter("weight").mul_(factor)
        layer.get_parameter("bias").sub_(mean.flatten()).mul_(factor)
        return (output - mean) * factor

    for name in deviations:
        handles[name] = model.get_submodule(name).register_forward_hook(partial(adapt, name))
    run()
    assert not handles


@torch.no_grad()
def make_sure(
    classes: nn.Linear, vectors: Sequence[Tensor], detections: int, background: int, impossible: Sequence[int] = ()
) -> None:
    """Spreads the classes' logits, and the background's leaves so many others above the threshold of scores.

    Args:
        classes: The layer.
        vectors: What it gets to see of each image.
        detections: Of each image at least, before suppression.
        background: Its row.
        impossible: Rows of classes that nothing has.
    """
    together = torch.cat(list(vectors))
    means = torch.stack([x.mean(0) for x in vectors])
    between, _ = torch.linalg.qr((means[1:] - means[0]).T)
    classes.weight -= classes.weight @ between @ between.T  # blind for what is different in all of an image
    classes.weight *= 2 / (together @ classes.weight.T).std(0)[:, None]
    classes.bias.copy_(-classes.weight @ together.mean(0))
    classes.bias[list(impossible)] -= 100
    logits = classes(together).double()
    others = torch.cat([logits[:, :background], logits[:, background + 1 :]], 1)
    # exp(other) / (exp(background + more) + sum of exp(others)) > threshold
    more = (others - math.log(0.05)).exp().sub(others.exp().sum(1, keepdim=True)).log() - logits[:, background, None]
    by_image = more.nan_to_num(-math.inf).split([*map(len, vectors)])
    classes.bias[background] += min(x.flatten().topk(detections).values[-1].item() for x in by_image) - 1e-3
