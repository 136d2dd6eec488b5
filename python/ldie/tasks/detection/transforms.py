# SPDX-License-Identifier: Apache-2.0
"""Augmentation: small objects that map a sample and a random generator to a sample, to be chained by Compose.

All randomness comes from the generator that is passed in, so a sample depends on (seed, epoch, index) alone; see
:class:`ldie.sampling.TransformedDataset`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ldie.tasks.detection import geometry
from ldie.tasks.detection.sample import Sample

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in the brightness of a pixel (ITU-R BT.601)."""


class Transform(Protocol):
    """A step of an augmentation."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """The transformed sample; the one passed in stays as it is."""


class Compose:
    """One transform after the other.

    Example:
        >>> augment = Compose([RandomResize((0.6, 1.4)), RandomCrop((128, 128)), RandomMirror()])
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Applies all steps in order."""
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


@dataclass(frozen=True)
class RandomResize:
    """Scales width and height by two factors drawn on their own, with a kernel drawn at random."""

    factors: tuple[float, float] = (0.6, 1.4)
    """Smallest and largest factor."""
    kernels: tuple[Image.Resampling, ...] = tuple(Image.Resampling)
    """What to draw the kernel from; all of Pillow's by default."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Resizes to the nearest whole number of pixels, at least 1."""
        height, width = geometry.image_size(sample)
        fx, fy = rng.uniform(*self.factors, size=2)
        size = max(1, round(height * fy)), max(1, round(width * fx))
        return geometry.resize(sample, size, self.kernels[rng.integers(len(self.kernels))])


@dataclass(frozen=True)
class Resize:
    """Scales to one size, antialiased."""

    size: tuple[int, int]
    """(H, W)."""

    def __call__(self, sample: Sample, rng: Generator | None = None) -> Sample:
        """Nothing random."""
        return geometry.resize(sample, self.size)


@dataclass(frozen=True)
class ResizeShorterSide:
    """Scales both axes alike so that the shorter side has a size drawn from some (multi-scale training), antialiased.

    As in detectron2: where the longer side would exceed ``longest``, that side gets this length instead.
    """

    sizes: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    """What to draw from; a single one is always taken."""
    longest: int = 1333
    """Most pixels of the longer side."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Resizes to the nearest whole number of pixels, at least 1."""
        height, width = geometry.image_size(sample)
        shorter = self.sizes[rng.integers(len(self.sizes))]
        factor = min(shorter / min(height, width), self.longest / max(height, width))
        return geometry.resize(sample, _scaled((height, width), factor))


@dataclass(frozen=True)
class LargeScaleJitter:
    """Scales an image to fit into a window, times a random factor, and cuts or fills it up to the window.

    Source: Ghiasi et al., Simple Copy-Paste, arXiv:2012.07177, with the defaults of its large jitter; 0.8 to 1.25 is
    the standard one. What exceeds the window is cut at random; what is smaller lies in its top left corner.
    """

    size: tuple[int, int] = (1024, 1024)
    """(H, W) of the window."""
    factors: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest factor."""
    fill: int = 128
    """Value of what lies outside the image."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Objects are clipped, those with no part in the window left out."""
        height, width = geometry.image_size(sample)
        fitting = min(self.size[0] / height, self.size[1] / width)
        resized = geometry.resize(sample, _scaled((height, width), fitting * rng.uniform(*self.factors)))
        slack = [max(now - window, 0) for now, window in zip(geometry.image_size(resized), self.size)]
        top, left = rng.integers(0, slack, endpoint=True).tolist()
        return geometry.crop(resized, top, left, self.size, self.fill)


@dataclass(frozen=True)
class RandomCrop:
    """A window of fixed size that keeps most of at least one object, found by trying.

    An object is kept when the window holds at least ``box_threshold`` of its width and of its height. When no try
    succeeds, or there is no object, the last window is taken. An image smaller than the window is put somewhere in it.
    """

    size: tuple[int, int]
    """(H, W) of the window."""
    box_threshold: float = 0.3
    """Part of a box's width and height that must be inside, 0 to 1."""
    tries: int = 50
    """Windows to try at most."""
    fill: int = 0
    """Value of what lies outside the image."""
    drop: bool = False
    """Whether objects below the threshold are left out; otherwise what the window holds of them stays."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Crops; objects are clipped, those with no part in the window left out."""
        height, width = geometry.image_size(sample)
        tops = _positions(rng, height, self.size[0], self.tries)
        lefts = _positions(rng, width, self.size[1], self.tries)
        kept = self._kept(sample.boxes, torch.from_numpy(np.stack([lefts, tops], axis=1)))
        good = (kept & ~sample.iscrowd).any(dim=1).nonzero()
        choice = 0 if sample.iscrowd.all() else int(good[0]) if len(good) else -1
        if self.drop:
            sample = sample.select(kept[choice])
        return geometry.crop(sample, int(tops[choice]), int(lefts[choice]), self.size, self.fill)

    def _kept(self, boxes: Tensor, corners: Tensor) -> Tensor:
        """Which of N objects the windows at T top left ``corners`` keep: bool [T,N]."""
        low = corners[:, None].to(boxes.dtype)
        high = low + torch.tensor([self.size[1], self.size[0]], dtype=boxes.dtype)
        extent = boxes[:, 2:] - boxes[:, :2]
        inside = torch.minimum(boxes[:, 2:], high) - torch.maximum(boxes[:, :2], low)
        return ((inside > 0) & (inside >= self.box_threshold * extent)).all(dim=2)


@dataclass(frozen=True)
class RandomMirror:
    """Exchanges left and right."""

    probability: float = 0.5
    """How often."""
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """Keypoints that change places; :attr:`ldie.tasks.detection.CocoDataset.flip_pairs`."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Mirrors or returns the sample as it is."""
        return geometry.mirror(sample, self.flip_pairs) if rng.random() < self.probability else sample


@dataclass(frozen=True)
class Photometric:
    """Random brightness, contrast, saturation and hue, each applied with ``probability``.

    All four are linear in the colour, so they make one 3x3 matrix and one offset.
    """

    brightness: float = 0.4
    """Pixels are multiplied by up to 1 +- this."""
    contrast: float = 0.4
    """Distances to the mean brightness are multiplied by up to 1 +- this."""
    saturation: float = 0.4
    """Distances to the pixel's own gray are multiplied by up to 1 +- this."""
    hue: float = 18.0
    """Colours turn around the gray axis by up to this many degrees."""
    probability: float = 0.5
    """How often each of the four is applied."""

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """Changes the colours of a uint8 image."""
        active = rng.random(4) < self.probability
        brightness, contrast, saturation, turn = active * rng.uniform(-1, 1, 4) * self._ranges()
        if not active.any():
            return sample
        pixels = sample.image.float().flatten(1)
        luma = torch.tensor(LUMA)
        matrix = (1 + brightness) * _rotation(math.radians(turn))
        matrix = (1 + saturation) * matrix - saturation * (luma @ matrix).expand(3, 3)
        mean = luma @ matrix @ pixels.mean(dim=1)
        pixels = torch.addmm((-contrast * mean).expand(1, 1), matrix, pixels, alpha=1 + contrast)
        image = pixels.round_().clamp_(0, 255).to(torch.uint8).view_as(sample.image)
        return replace(sample, image=image)

    def _ranges(self) -> tuple[float, float, float, float]:
        return self.brightness, self.contrast, self.saturation, self.hue


def normalize(image: Tensor, mean: Sequence[float], std: Sequence[float], *, bgr: bool = False) -> Tensor:
    """``(image / 255 - mean) / std``.

    Args:
        image: uint8 [...,3,H,W], RGB, on any device.
        mean: Per channel of the result, for values of 0 to 1.
        std: Likewise.
        bgr: Whether the result has the channels in the order blue, green, red.

    Returns:
        float32 [...,3,H,W].

    Raises:
        ValueError: The image is not uint8: it would be divided by 255 twice.
    """
    if image.dtype != torch.uint8:
        raise ValueError(f"normalize needs a uint8 image, got {image.dtype}")
    centre, spread = (_constants(values, image.device) for values in (mean, std))
    scale, bias = 1 / (255 * spread), -centre / spread
    return torch.addcmul(bias[:, None, None], image.flip(-3) if bgr else image, scale[:, None, None])


def _constants(values: Sequence[float], device: torch.device) -> Tensor:
    """A float32 tensor made on the device: copied from the host, it would have to be waited for."""
    return torch.stack([torch.full((), value, dtype=torch.float32, device=device) for value in values])


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _positions(rng: Generator, length: int, window: int, count: int) -> NDArray[np.int64]:
    """Starts of windows on an axis: inside the image, or such that the image is inside the window."""
    slack = length - window
    return rng.integers(min(slack, 0), max(slack, 0), size=count, endpoint=True)


def _rotation(angle: float) -> Tensor:
    """Rotation about the gray axis (1,1,1)/sqrt(3) by Rodrigues' formula; gray stays as it is."""
    cosine, sine = math.cos(angle), math.sin(angle) / math.sqrt(3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return cosine * torch.eye(3) + (1 - cosine) / 3 + sine * cross
