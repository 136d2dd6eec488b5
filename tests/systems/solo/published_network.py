"""SOLO as its paper (arXiv:1912.04488) and mmdetection's configuration describe it, on tensors under published names.

Written from these alone; nothing of ours is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

GRIDS = (40, 36, 24, 16, 12)
_BLOCKS = (3, 4, 6, 3)
_CONVS = 7
_GROUPS = 32
_AUTHORS = {
    "mask_head.mask_convs": "bbox_head.ins_convs",
    "mask_head.cls_convs": "bbox_head.cate_convs",
    "mask_head.conv_mask_list": "bbox_head.solo_ins_list",
    "mask_head.conv_cls": "bbox_head.solo_cate",
}
Shape = tuple[int, ...]


class Widths(NamedTuple):
    """Channels of the residual network and of the pyramid."""

    stem: int = 64
    stages: tuple[int, ...] = (256, 512, 1024, 2048)
    pyramid: int = 256


class Maps(NamedTuple):
    """What the head gives, by level."""

    masks: list[Tensor]
    """Logits [B,S*S,2h,2w]."""
    categories: list[Tensor]
    """Logits [B,C,S,S]."""


def authors_name(name: str) -> str:
    """What the authors call a tensor of mmdetection's."""
    for theirs, older in _AUTHORS.items():
        name = name.replace(theirs, older)
    return name


def published_shapes(classes: int = 80, widths: Widths | None = None) -> dict[str, Shape]:
    """Every tensor of a file of mmdetection's, with its shape; counters of batch norm have none."""
    return dict(_tensors(classes, widths or Widths()))


def _tensors(classes: int, widths: Widths) -> Iterator[tuple[str, Shape]]:
    yield from _normed("backbone.conv1", "backbone.bn1", (widths.stem, 3, 7, 7))
    inputs = widths.stem
    for stage, (count, width) in enumerate(zip(_BLOCKS, widths.stages), start=1):
        for block in range(count):
            place, inner = f"backbone.layer{stage}.{block}", width // 4
            yield from _normed(f"{place}.conv1", f"{place}.bn1", (inner, inputs, 1, 1))
            yield from _normed(f"{place}.conv2", f"{place}.bn2", (inner, inner, 3, 3))
            yield from _normed(f"{place}.conv3", f"{place}.bn3", (width, inner, 1, 1))
            if block == 0:
                yield from _normed(f"{place}.downsample.0", f"{place}.downsample.1", (width, inputs, 1, 1))
            inputs = width
    pyramid = widths.pyramid
    for level, width in enumerate(widths.stages):
        yield from _biased(f"neck.lateral_convs.{level}.conv", (pyramid, width, 1, 1))
        yield from _biased(f"neck.fpn_convs.{level}.conv", (pyramid, pyramid, 3, 3))
    for branch, more in (("mask_convs", 2), ("cls_convs", 0)):
        for index in range(_CONVS):
            place = f"mask_head.{branch}.{index}"
            yield f"{place}.conv.weight", (256, 256 if index else pyramid + more, 3, 3)
            yield from ((f"{place}.gn.{kind}", (256,)) for kind in ("weight", "bias"))
    for level, grid in enumerate(GRIDS):
        yield from _biased(f"mask_head.conv_mask_list.{level}", (grid * grid, 256, 1, 1))
    yield from _biased("mask_head.conv_cls", (classes, 256, 3, 3))


def _normed(conv: str, norm: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{conv}.weight", shape
    yield from ((f"{norm}.{kind}", shape[:1]) for kind in ("weight", "bias", "running_mean", "running_var"))
    yield f"{norm}.num_batches_tracked", ()


def _biased(layer: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield f"{layer}.weight", shape
    yield f"{layer}.bias", shape[:1]


def random_file(classes: int = 80, widths: Widths | None = None, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under mmdetection's names, of sizes that keep activations about 1."""
    generator = torch.Generator().manual_seed(seed)

    def value(name: str, shape: Shape) -> Tensor:
        if not shape:
            return torch.tensor(7)
        if len(shape) > 1:
            return torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5
        spread = torch.rand(shape, generator=generator)
        if name.endswith(("bias", "running_mean")):
            return 0.2 * (spread - 0.5)
        last_of_block = name.endswith("bn3.weight")
        return (0.3 if last_of_block else 1.0) * (0.5 + spread)

    return {name: value(name, torch.Size(shape)) for name, shape in published_shapes(classes, widths).items()}


class PublishedNetwork:
    """The network of a file.

    Args:
        weights: Under mmdetection's names.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def __call__(self, images: Tensor) -> Maps:
        """Images [B,3,H,W] whose sides are multiples of 32."""
        return self.head(self.pyramid(self.residual(images)))

    def residual(self, images: Tensor) -> list[Tensor]:
        """The maps of strides 4, 8, 16 and 32."""
        x = self._normed(images, "backbone.conv1", "backbone.bn1", stride=2).relu()
        x = functional.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage, count in enumerate(_BLOCKS, start=1):
            for block in range(count):
                x = self._bottleneck(x, f"backbone.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1)
            maps.append(x)
        return maps

    def _bottleneck(self, x: Tensor, place: str, stride: int) -> Tensor:
        y = self._normed(x, f"{place}.conv1", f"{place}.bn1").relu()
        y = self._normed(y, f"{place}.conv2", f"{place}.bn2", stride).relu()
        y = self._normed(y, f"{place}.conv3", f"{place}.bn3")
        if f"{place}.downsample.0.weight" in self.weights:
            x = self._normed(x, f"{place}.downsample.0", f"{place}.downsample.1", stride)
        return (x + y).relu()

    def _normed(self, x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = self.weights[f"{conv}.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, variance, factor, summand = (
            self.weights[f"{norm}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, factor, summand, eps=1e-5)

    def _biased(self, x: Tensor, layer: str) -> Tensor:
        weight = self.weights[f"{layer}.weight"]
        return functional.conv2d(x, weight, self.weights[f"{layer}.bias"], padding=weight.shape[-1] // 2)

    def pyramid(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Maps p2 to p6."""
        merged = [self._biased(x, f"neck.lateral_convs.{level}.conv") for level, x in enumerate(stages)]
        for level in (2, 1, 0):
            above = functional.interpolate(merged[level + 1], merged[level].shape[2:], mode="nearest")
            merged[level] = merged[level] + above
        maps = [self._biased(x, f"neck.fpn_convs.{level}.conv") for level, x in enumerate(merged)]
        return [*maps, maps[-1][:, :, ::2, ::2]]

    def head(self, pyramid: Sequence[Tensor]) -> Maps:
        """Masks and categories of p2 to p6; the first is halved, and the last made as large as the one before."""
        p2, p3, p4, p5, p6 = pyramid
        levels = [_resized(p2, p3.shape[2:]), p3, p4, p5, _resized(p6, p5.shape[2:])]
        return Maps(
            [self._masks(x, level) for level, x in enumerate(levels)],
            [self._categories(x, GRIDS[level]) for level, x in enumerate(levels)],
        )

    def _masks(self, x: Tensor, level: int) -> Tensor:
        height, width = x.shape[2:]
        across = torch.linspace(-1, 1, width).repeat(height, 1)
        down = torch.linspace(-1, 1, height)[:, None].repeat(1, width)
        x = torch.cat([x, torch.stack([across, down]).repeat(len(x), 1, 1, 1)], 1)
        x = _resized(self._branch(x, "mask_convs"), (2 * height, 2 * width))
        return self._biased(x, f"mask_head.conv_mask_list.{level}")

    def _categories(self, x: Tensor, grid: int) -> Tensor:
        return self._biased(self._branch(_resized(x, (grid, grid)), "cls_convs"), "mask_head.conv_cls")

    def _branch(self, x: Tensor, name: str) -> Tensor:
        for index in range(_CONVS):
            place = f"mask_head.{name}.{index}"
            x = functional.conv2d(x, self.weights[f"{place}.conv.weight"], padding=1)
            factor, summand = self.weights[f"{place}.gn.weight"], self.weights[f"{place}.gn.bias"]
            x = functional.group_norm(x, _GROUPS, factor, summand, eps=1e-5).relu()
        return x


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class Found(NamedTuple):
    """Objects of an image, best first."""

    scores: Tensor
    labels: Tensor
    masks: Tensor
    """bool [N,H,W]."""


def published_results(maps: Maps, image: int, inside: Shape, size: Shape) -> Found:
    """The published test on the outputs for one image of a batch, with its published thresholds.

    Args:
        maps: Of the head.
        image: Of the batch.
        inside: (H, W) of the image within the network's input.
        size: (H, W) of its file.
    """
    finest = maps.masks[0].shape[2:]
    scores = torch.cat([_peaks(level[image].sigmoid()).flatten(1) for level in maps.categories], 1)
    labels, places = (scores > 0.1).nonzero().unbind(1)
    scores = scores[labels, places]
    probabilities = torch.cat([_resized(level[image : image + 1].sigmoid(), finest)[0] for level in maps.masks])[places]
    strides = torch.cat([torch.full((grid**2,), stride) for grid, stride in zip(GRIDS, (8, 8, 16, 32, 32))])[places]
    masks = probabilities > 0.5
    areas = masks.sum((1, 2))
    scores = scores * (probabilities * masks).sum((1, 2)) / areas.clamp(min=1)
    kept = (areas > strides).nonzero().flatten()
    order = kept[scores[kept].argsort(descending=True)][:500]
    scores, labels, probabilities, masks = scores[order], labels[order], probabilities[order], masks[order].flatten(1)
    scores = _decayed(scores, labels, masks.float())
    order = scores.argsort(descending=True)
    order = order[scores[order] >= 0.05][:100]
    drawn = _resized(probabilities[order][None], (4 * finest[0], 4 * finest[1]))[..., : inside[0], : inside[1]]
    return Found(scores[order], labels[order], _resized(drawn, size)[0] > 0.5)


def _peaks(scores: Tensor) -> Tensor:
    """Scores [C,S,S]; 0 where one to the left, above, or both is larger."""
    above = functional.pad(scores, (1, 0, 1, 0))
    largest = torch.stack([above[:, 1:, 1:], above[:, :-1, 1:], above[:, 1:, :-1], above[:, :-1, :-1]]).amax(0)
    return scores * (scores == largest)


def _decayed(scores: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """Matrix NMS (arXiv:2003.10152) with Gaussians of sigma 2, an object at a time; masks [N,P], best first."""
    shared = masks @ masks.T
    areas = masks.sum(1)
    overlap = shared / (areas[:, None] + areas - shared)
    overlap = (overlap * (labels[:, None] == labels)).triu(1)  # of a better one, by row, with a worse one
    worst = overlap.amax(0)  # of each with any better one
    factors = [
        torch.exp(-2 * (overlap[:index, index] ** 2 - worst[:index] ** 2)).amin() if index else torch.tensor(1.0)
        for index in range(len(scores))
    ]
    return scores * torch.stack(factors)
