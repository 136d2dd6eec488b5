# SPDX-License-Identifier: Apache-2.0
"""Configuration of SOLO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from ldie.config import Count, ModelConfig, Positive, RunConfig
from ldie.errors import ConfigError
from ldie.nn.backbone import BackboneConfig, HeadNorm
from ldie.tasks.detection.mask_maps import MaskPostprocessConfig
from ldie.tasks.detection.whole_images import InputConfig, WholeImageSolver

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]
_Open = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class HeadConfig:
    """Categories and masks of the places of a grid on each level, by layers that all levels share."""

    grids: tuple[Positive, ...] = (40, 36, 24, 16, 12)
    """Places along each side of the image, by level of the pyramid from its finest; the coarsest maps may have none."""
    strides: tuple[Positive, ...] = (8, 8, 16, 32, 32)
    """Pixels per cell that each level's map is brought to."""
    convs: Positive = 7
    """3 x 3 convolutions of each branch."""
    channel: Positive = 256
    normalization: HeadNorm = "group"
    coord_norm: bool = True
    """Normalise the first convolution of the masks' branch too, which also sees the coordinates."""
    category: Literal["sigmoid", "softmax"] = "sigmoid"
    """Each class on its own with the focal loss, or all classes and background together with cross entropy."""
    category_kernel: Literal[1, 3] = 3
    """Side of the last convolution of the categories' branch."""
    category_per_level: bool = False
    """A last convolution of its own for each level, as the masks' branch has one."""
    upsample_pos: Literal["before", "after"] = "after"
    """Where masks become twice as fine: before the masks' branch or after it. Between its last convolutions, where the
    published code has it, is the same as after it, as a 1 x 1 convolution does not care."""
    align_corners: bool = False
    """Interpolate so that corner cells stay corner cells, as ``upsample_bilinear`` does."""
    mask_prior: _Open = 0.5
    """Probability of each pixel of a mask at the start; the published code has .01."""
    sigmoid_after_up: bool = True
    """Probabilities of interpolated logits; otherwise probabilities are interpolated."""


@dataclass(frozen=True)
class SOLOModel(ModelConfig):
    """The networks."""

    num_classes: int = 80
    """Classes without background; the data decides."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    fpn_convs: Count = 0
    """More 3 x 3 convolutions on each map of the pyramid, the same for all."""
    fpn_relu: bool = False
    """A ReLU after the pyramid and after each of ``fpn_convs``."""
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass(frozen=True)
class AssignConfig:
    """Which places learn which objects."""

    scale_ranges: tuple[tuple[_Weight, _Weight], ...] = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))
    """For each level, the smallest and largest root of width times height, both included."""
    sigma: _Weight = 0.2
    """The part of an object's width and height whose places learn it."""
    clamp: bool = True
    """At most 3 x 3 places of an object on a level."""
    order: Literal["given", "area"] = "area"
    """Where objects share a place: the smaller has it, or the one that the data name later."""
    skip_empty: bool = True
    """Objects without a pixel are not learnt; otherwise the centre of their box is taken."""
    mask_cells: bool = False
    """Also all places on the object within twice that part."""


@dataclass(frozen=True)
class SOLOSolver(WholeImageSolver):
    """Optimisation."""

    sgd_style: Literal["plain", "caffe"] = "plain"
    """``caffe``: biases learn twice as fast and do not decay."""
    focal_alpha: _Fraction = 0.25
    """Weight of the positives in the focal loss."""
    focal_gamma: _Weight = 2.0
    category_weight: _Weight = 1.0
    mask_weight: _Weight = 3.0
    count_images: bool = False
    """Divide the categories' loss by positives and images together; otherwise by positives and one."""
    loss_stride: Literal[2, 4, 8] = 4
    """Pixels per cell in which masks are compared, the same for all levels unless ``multi_scale_loss``."""
    multi_scale_loss: bool = True
    """Compare each level's masks twice as fine as its map."""
    mask_targets: Literal["area", "nearest", "bilinear", "fraction"] = "area"
    """What a cell's target is: whether the object has at least half of its area, its first pixel, or of its middle
    ones; or the part that the object has of it."""
    dice_smooth: tuple[_Weight, _Weight] = (0.0, 0.002)
    """Added above and below the line of the dice loss; the published code has (0, .002), a fork (1, 1)."""
    assign: AssignConfig = field(default_factory=AssignConfig)


@dataclass(frozen=True)
class PostprocessConfig(MaskPostprocessConfig):
    """From the networks' outputs to results."""

    points_nms: Literal[0, 2, 3] = 2
    """A place counts only if its score is the largest of so many along each side; 0: all count."""
    score_thr: _Fraction = 0.1
    """Of a category, before its mask is looked at."""
    nms_pre: Positive = 500
    """Best places of an image that are looked at."""
    min_area: Literal["stride", "none"] = "stride"
    """``stride``: masks go that have no more cells than their level's stride has pixels; a cell is half as wide as one
    of the finest map."""
    maskness: bool = True
    """Multiply scores by the mean probability within the mask."""


@dataclass(frozen=True)
class SOLOConfig(RunConfig):
    """Root of the configuration."""

    model: SOLOModel = field(default_factory=SOLOModel)
    solver: SOLOSolver = field(default_factory=SOLOSolver)
    input: InputConfig = field(default_factory=InputConfig)
    test: PostprocessConfig = field(default_factory=PostprocessConfig)

    def check(self) -> None:
        """Checks what spans several keys, once all of them are set.

        Raises:
            ConfigError: Naming the keys that do not fit together.
        """
        self.model.backbone.check()
        head, ranges = self.model.head, self.solver.assign.scale_ranges
        maps = len(self.model.backbone.strides)
        if not 1 <= len(head.grids) <= maps or len(head.strides) != len(head.grids):
            raise ConfigError(
                f"model.head.grids and model.head.strides need one entry for each of 1 to {maps} levels of the "
                f"pyramid, got {list(head.grids)} and {list(head.strides)}"
            )
        for stride in head.strides:
            if stride & (stride - 1) or stride < 2:
                raise ConfigError(f"model.head.strides takes powers of two from 2 on, got {stride}")
        if len(ranges) != len(head.grids):
            raise ConfigError(
                f"solver.assign.scale_ranges must have one pair for each of the {len(head.grids)} levels of "
                f"model.head.grids, got {[list(pair) for pair in ranges]}"
            )
        for low, high in ranges:
            if low > high:
                raise ConfigError(f"solver.assign.scale_ranges takes pairs of rising numbers, got {[low, high]}")
        if not self.solver.multi_scale_loss and self.solver.loss_stride > self.finest_mask:
            raise ConfigError(
                f"solver.loss_stride must be at most {self.finest_mask}, the stride of the finest masks of "
                f"model.head, got {self.solver.loss_stride}"
            )
        coarsest = max(*head.strides, self.model.backbone.strides[0])
        if self.input.multiple % coarsest:
            raise ConfigError(
                f"input.multiple must be a multiple of {coarsest}, the largest of model.head.strides and of the "
                f"pyramid's finest stride, got {self.input.multiple}"
            )
        if min(head.grids) == 1 and head.normalization == "group" and 32 % head.channel == 0:
            raise ConfigError(
                "model.head.grids must be at least 2 where model.head.normalization=group has one channel in a group "
                f"(model.head.channel={head.channel}), as a single number has no spread, got {list(head.grids)}"
            )

    @property
    def finest_mask(self) -> int:
        """Pixels per cell of the finest masks that the network gives."""
        head = self.model.head
        return min(head.strides) // (2 if head.upsample_pos == "before" else 1)

    @property
    def loss_strides(self) -> tuple[int, ...]:
        """Pixels per cell in which each level's masks are compared."""
        strides = self.model.head.strides
        return tuple(stride // 2 if self.solver.multi_scale_loss else self.solver.loss_stride for stride in strides)
