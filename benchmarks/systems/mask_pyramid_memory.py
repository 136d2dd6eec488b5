"""Bytes that the masks of many hypotheses take on one level, and kernels that a pyramid's growth launches.

A level of 80 hypotheses on 50 x 84 cells (stride 16 in images of 800 x 1344), with features of 256 channels, in four
forms:

first
    the first generation as it is: the features' part of a convolution once, each hypothesis' own part beside it
first, concatenated
    that convolution of each hypothesis' copy of the features and its own map
second
    the second generation's input as it is: parts of features, of place, and of what is known, which is mixed before it
    becomes finer
second, concatenated
    ``conv(cat(up2(h), f, G))``, 1 x 1, with a copy of the features for each hypothesis

Both of a pair have the same weights and compute the same, which is checked. Memory is that of the tensors alive at the
worst moment of a call, without features, weights and their gradients: of the forward pass alone, and of forward and
backward. ``maps of each`` are these bytes in masks of a hypothesis, h * w numbers of 4 bytes. Hypotheses of the second
generation have 64 channels as by default, or as many as the features; ``layers`` are the residual block that both forms
have behind the input.

    cd benchmarks && PYTHONPATH=.:..:../python:../tests python -m systems.mask_pyramid_memory

``--launches`` prints instead how many kernels the growth of one image launches, by operator, in both generations.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ldie.config import merge
from ldie.systems.mask_pyramid import MaskPyramidConfig
from ldie.systems.mask_pyramid.config import MaskConfig
from ldie.systems.mask_pyramid.generations import ConvMasks, StateMasks, twice
from ldie.systems.mask_pyramid.growth import Growth
from ldie.systems.mask_pyramid.hypotheses import Masks, Seeds
from op_checks import peak_bytes
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

SIZE, COUNT, CHANNEL, STATE = (50, 84), 80, 256, MaskConfig().state_channel
LEVEL = 1
"""Of the two that a model here has: one that refines."""
_LAST = torch.channels_last
STRIDES = {"start_stride": 32, "last_stride": 16}


class Step(nn.Module):
    """A level of either generation, and the same computed on copies of the features.

    Args:
        generation: 1 or 2.
        channel: Of the features.
        state: Of hypotheses in the second generation.
        depth: Layers after the input.
    """

    def __init__(self, generation: int, channel: int, state: int, depth: int) -> None:
        super().__init__()
        mask = {"generation": generation, "state_channel": state, "refine_depth": depth}
        values = {"model": {**STRIDES, "mask": mask, "backbone": {"pyramid_channel": channel}}}
        model = merge(MaskPyramidConfig(), values).model
        self.masks = ConvMasks(model) if generation == 1 else StateMasks(model)
        self.to(memory_format=_LAST)  # type: ignore[call-overload]  # as in the system

    def forward(self, features: Tensor, seeds: Seeds, before: Masks) -> Tensor:
        """Logits [B,A,O,h,w] as the system computes them."""
        logits: Tensor = self.masks(features, seeds, before, LEVEL)[0]
        return logits

    def concatenated(self, features: Tensor, seeds: Seeds, before: Masks) -> Tensor:
        """The same of copies of the features."""
        masks, size, count = self.masks, features.shape[2:], seeds.alive.shape[1]
        batch, copies = len(features), features[:, None].expand(-1, count, -1, -1, -1)
        if isinstance(masks, ConvMasks):
            known = twice(before.logits.sigmoid(), size)[:, :, None]
            shared = masks.shared[LEVEL]
            weight = torch.cat([shared.weight, masks.own[LEVEL].weight], 1)
            x = torch.cat([copies, known], 2).flatten(0, 1)
            x = functional.conv2d(x, weight, shared.bias, padding=weight.shape[2] // 2)
        else:
            assert before.states is not None
            known = twice(before.states.flatten(0, 1).movedim(3, 1), size).movedim(1, 3).unflatten(0, (batch, count))
            places = masks.places.gaussians(seeds, LEVEL, features)[..., None]
            shared = masks.features[LEVEL]
            weight = torch.cat([masks.states[LEVEL - 1].weight, shared.weight, masks.own[LEVEL].weight], 1)
            x = torch.cat([known, copies.movedim(2, 4), places], 4).flatten(0, 1).movedim(3, 1)
            del known
            x = masks.blocks[LEVEL](functional.conv2d(x, weight, shared.bias).relu_())
            x = masks.out[LEVEL](x.movedim(1, 3)).movedim(3, 1)
        return x.unflatten(0, seeds.alive.shape)


def level_inputs(
    step: Step, count: int, size: tuple[int, int], channel: int, state: int
) -> tuple[Tensor, Seeds, Masks]:
    """Features and hypotheses of the level before, with gradients."""
    generator = torch.Generator().manual_seed(0)
    coarse = tuple(-(-side // 2) for side in size)
    features = torch.randn(1, channel, *size, generator=generator).to(memory_format=_LAST)
    features.requires_grad_()
    places = torch.rand(1, count, 2, generator=generator) * torch.tensor([size[1] * 16.0, size[0] * 16.0])
    births = functional.pad(places, (0, 1), value=32.0)
    logits = torch.randn(1, count, *coarse, generator=generator).requires_grad_()
    states = None
    if isinstance(step.masks, StateMasks):
        states = torch.randn(1, count, *coarse, state, generator=generator).requires_grad_()
    return features, Seeds(torch.zeros(1, count, dtype=torch.int64), births, None), Masks(logits, states)


def forms(
    generation: int, count: int, size: tuple[int, int], channel: int, state: int = STATE, depth: int = 0
) -> dict[str, Any]:
    """Functions without arguments that give logits, by name, and the leaves that have gradients."""
    torch.manual_seed(0)
    step = Step(generation, channel, state, depth)
    inputs = level_inputs(step, count, size, channel, state)
    features, _, masks = inputs
    leaves = [features, *step.parameters(), masks.logits if masks.states is None else masks.states]
    return {
        "ours": lambda: step(*inputs),
        "concatenated": lambda: step.concatenated(*inputs),
        "leaves": leaves,
    }


def forward_peak(call: Callable[[], Tensor]) -> int:
    """Bytes at the worst moment of the forward pass."""
    with torch.no_grad():
        return peak_bytes(call)


def training_peak(call: Callable[[], Tensor], leaves: list[Tensor]) -> int:
    """Of forward and backward, without the gradients of the leaves, which every form has."""
    for leaf in leaves:
        leaf.grad = None
    peak = peak_bytes(lambda: call().square().mean().backward())
    return peak - sum(leaf.grad.nbytes for leaf in leaves if leaf.grad is not None)


def agree(own: Callable[[], Tensor], other: Callable[[], Tensor]) -> float:
    """The largest difference between two forms, by the largest value."""
    with torch.no_grad():
        ours, theirs = own(), other()
    return float((ours - theirs).abs().max() / theirs.abs().max())


class Launches(TorchDispatchMode):
    """Counts operators that launch kernels: not those that give views, memory or sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not (func.is_view or func.name().split("::")[1].startswith(_NO_KERNEL)):
            self.counts[func.name()] += 1
        return result


_NO_KERNEL = ("empty", "new_empty", "lift_fresh", "detach", "_unsafe_view", "_local_scalar_dense")


def launches(config: MaskPyramidConfig, height: int = 800, width: int = 1344, batch: int = 1) -> Counter[str]:
    """Kernels of the growth of a batch, by operator."""
    growth = Growth(merge(config, {"model": {"mask": {"state_channel": 8}, "backbone": {"pyramid_channel": 8}}}))
    growth.to(memory_format=_LAST)  # type: ignore[call-overload]  # as in the system
    sizes = ((-(-height // stride), -(-width // stride)) for stride in config.model.strides)
    features = [torch.randn(batch, 8, *size).to(memory_format=_LAST) for size in sizes]
    with torch.no_grad(), Launches() as mode:
        growth(features, torch.tensor([[height, width]] * batch))
    return mode.counts


def print_memory() -> None:
    """Both generations, in MiB and in maps of one hypothesis."""
    cells = COUNT * SIZE[0] * SIZE[1] * 4
    print(f"{COUNT} hypotheses, {SIZE[0]} x {SIZE[1]} cells, features of {CHANNEL} channels")
    print(f"a map of each: {cells / 2**20:.1f} MiB")
    for name, generation, state, depth in (
        ("first", 1, STATE, 0),
        (f"second, {STATE}", 2, STATE, 0),
        (f"second, {STATE}, layers", 2, STATE, 1),
        (f"second, {CHANNEL}", 2, CHANNEL, 0),
    ):
        each = forms(generation, COUNT, SIZE, CHANNEL, state, depth)
        apart = agree(each["ours"], each["concatenated"])
        peaks = {}
        for form in ("ours", "concatenated"):
            peaks[form] = forward_peak(each[form]), training_peak(each[form], each["leaves"])
            maps = ", ".join(f"{peak / cells:7.1f}" for peak in peaks[form])
            forward, training = (peak / 2**20 for peak in peaks[form])
            print(
                f"{name:18s} {form:13s} forward {forward:7.1f} MiB, training {training:7.1f} MiB, maps of each {maps}"
            )
        parts = [100 * ours / theirs for ours, theirs in zip(*peaks.values())]
        print(f"{name:18s} ours of that:  {parts[0]:.1f} %, {parts[1]:.1f} %; values within {apart:.1g}", flush=True)


def print_launches() -> None:
    """Both generations, by operator."""
    for generation in (1, 2):
        counts = launches(merge(MaskPyramidConfig(), {"model": {"mask": {"generation": generation}}}))
        print(f"generation {generation}: {counts.total()} kernels")
        print("  " + ", ".join(f"{name.removeprefix('aten::')} {count}" for name, count in counts.most_common()))


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launches", action="store_true", help="kernels of the growth of one image")
    print_launches() if parser.parse_args().launches else print_memory()


if __name__ == "__main__":
    main()
