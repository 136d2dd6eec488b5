# SPDX-License-Identifier: Apache-2.0
"""Whole images, resized to one length of their shorter side: to learn from and to find objects in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from numpy.random import Generator
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from ldie.config import LearningRate, Positive, SolverConfig
from ldie.contract import Facts
from ldie.tasks.detection.geometry import clip, image_size, resize_image
from ldie.tasks.detection.masks import Size
from ldie.tasks.detection.sample import Sample
from ldie.tasks.detection.transforms import (
    Compose,
    Photometric,
    RandomMirror,
    ResizeShorterSide,
    Transform,
    normalize,
)

Convention = Literal["torchvision", "detectron2"]
"""Whose way of resizing, and of scaling keypoints."""
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Length = Annotated[float, Field(gt=0)]
_Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class DataConfig:
    """Training images."""

    shorter_sides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (640, 672, 704, 736, 768, 800)
    """Sizes that the shorter side is drawn from."""
    longest: Positive = 1333
    """Most pixels of the longer side."""
    mirror: _Fraction = 0.5
    """How often images are mirrored."""
    color_jitter: _Fraction = 0.0
    """Strength of the changes of brightness, contrast and saturation, and, times 45 degrees, of hue."""


@dataclass(frozen=True)
class WholeImageSolver(SolverConfig):
    """One optimizer, weights to start from, and training images; systems derive from it."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: LearningRate = 0.01
    momentum: _Fraction = 0.9
    weight_decay: _Weight = 1e-4
    gradient_clip: _Weight = 35.0
    """Largest gradient norm; 0: no clipping."""
    pretrained: str = ""
    """Weights to start from: a checkpoint, or a file that ``ldie import`` takes; what fits by name and shape is
    loaded, and the rest is named."""
    pretrained_parts: tuple[str, ...] = ()
    """Beginnings of the names to load of it, such as ``backbone``; none: all."""
    data: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True)
class InputConfig:
    """Images on their way into the network."""

    bgr: bool = False
    """Channels in the order blue, green, red; ``mean`` and ``std`` then come in this order, too."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Per channel, of pixel values in 0..1."""
    std: tuple[_Length, _Length, _Length] = (0.229, 0.224, 0.225)
    shorter_side: Positive = 800
    """Pixels of the shorter side in evaluation."""
    longest: Positive = 1333
    """Most pixels of the longer side."""
    multiple: Positive = 32
    """A batch's sides are filled up to whole multiples of so many pixels."""


class WholeImages:
    """A sample as a network learns from it.

    Objects are cut at the image's border. Crowds and what has no area are no training targets and are left out.

    Args:
        data: Sizes and changes.
        facts: Of the detection task.
        masks: Keep the objects' masks.
        keypoints: Keep their keypoints.
        convention: Whose way of scaling keypoints.
    """

    def __init__(
        self, data: DataConfig, facts: Facts, *, masks: bool, keypoints: bool, convention: Convention = "detectron2"
    ) -> None:
        jitter = data.color_jitter
        pairs = tuple((int(left), int(right)) for left, right in facts["flip_pairs"])
        self.masks, self.keypoints = masks, keypoints
        self.scales_indices = convention == "torchvision"
        steps: list[Transform] = [ResizeShorterSide(data.shorter_sides, data.longest), RandomMirror(data.mirror, pairs)]
        if jitter:
            steps.append(Photometric(jitter, jitter, jitter, 45 * jitter))
        self.augment = Compose(steps)

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """The sample resized, mirrored and recoloured."""
        needed = replace(
            sample,
            masks=sample.masks if self.masks else None,
            keypoints=sample.keypoints if self.keypoints else None,
        )
        made = clip(self.augment(needed.select(~sample.iscrowd), rng))
        if made.keypoints is None or not self.scales_indices:
            return made
        return replace(made, keypoints=_scaled_indices(made.keypoints, image_size(sample), image_size(made)))


def _scaled_indices(keypoints: Tensor, old: Size, new: Size) -> Tensor:
    """Keypoints of an image that was scaled, where their indices were scaled as coordinates are.

    As torchvision has it, which finds them by indices scaled back.
    """
    factors = torch.tensor([new[1] / old[1], new[0] / old[0], 1.0])
    return keypoints + 0.5 * (1 - factors) * (keypoints[..., 2:] > 0)


def evaluation_image(image: Tensor, config: InputConfig, convention: Convention) -> Tensor:
    """A whole image uint8 [3,H,W] as normalised float32 [3,h,w].

    Its shorter side is the configured one, unless the longer side would then be too long. Torchvision normalises first
    and then interpolates without antialiasing; detectron2 resizes as Pillow does.
    """
    size = evaluation_size((image.shape[1], image.shape[2]), config, convention)
    if convention == "detectron2":
        return normalize(resize_image(image, size), config.mean, config.std, bgr=config.bgr)
    normal = normalize(image, config.mean, config.std, bgr=config.bgr)
    return functional.interpolate(normal[None], size=size, mode="bilinear", align_corners=False)[0]


def evaluation_size(size: tuple[int, int], config: InputConfig, convention: Convention) -> tuple[int, int]:
    """Height and width that an image of ``size`` gets.

    Both conventions scale by the same number; torchvision rounds down, detectron2 to the nearest, computing in the
    order that decides where a side ends in about one half.
    """
    shorter, longer = min(size), max(size)
    if convention == "torchvision":
        factor = min(config.shorter_side / shorter, config.longest / longer)
        height, width = (max(1, math.floor(side * factor)) for side in size)
        return height, width
    factor = config.shorter_side / shorter
    sides = [float(config.shorter_side) if side == shorter else factor * side for side in size]
    if max(sides) > config.longest:
        factor = config.longest / max(sides)
        sides = [side * factor for side in sides]
    height, width = (max(1, int(side + 0.5)) for side in sides)
    return height, width
