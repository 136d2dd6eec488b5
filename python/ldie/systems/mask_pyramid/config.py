# SPDX-License-Identifier: Apache-2.0
"""Configuration of the mask pyramid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from ldie.config import Count, ModelConfig, Positive, RunConfig
from ldie.durations import Steps
from ldie.errors import ConfigError
from ldie.nn.backbone import BackboneConfig, HeadNorm
from ldie.tasks.detection.mask_maps import MaskPostprocessConfig
from ldie.tasks.detection.whole_images import InputConfig, WholeImageSolver

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]
_Length = Annotated[float, Field(gt=0)]
_Open = Annotated[float, Field(gt=0, lt=1)]
_Number = TypeVar("_Number", int, float)
MaskLoss = Literal["l1", "l2", "ce", "dice"]


@dataclass(frozen=True)
class MaskConfig:
    """How a hypothesis' mask is computed: from the image's features, where it was born, and its coarser mask."""

    generation: Literal[1, 2] = 2
    """1: a mask is a convolution of features and of the mask before it; 2: hypotheses have channels of their own, which
    are handed on from level to level."""
    state_channel: Positive = 64
    """Of the second generation: channels of each hypothesis."""
    init_kernel: Literal[1, 3, 5, 7] = 7
    """Of the first generation: side of the convolution that makes masks on the coarsest level."""
    refine_kernel: Literal[1, 3, 5, 7] = 3
    """The same on the others."""
    init_depth: Count = 1
    """Layers of the coarsest level: 3 x 3 convolutions of the features before that in the first generation, residual
    blocks of a hypothesis' channels in the second."""
    refine_depth: Count = 1
    """The same on the others."""
    block: Literal["bottleneck", "basic"] = "basic"
    """Residual blocks of the second generation: 1 x 1, 3 x 3, 1 x 1, half as wide inside; or two of 3 x 3."""
    normalization: HeadNorm = "none"
    """Of these layers; ``batch`` counts slots that are not in use, too."""
    share_across_levels: bool = False
    """One set of layers for all levels after the coarsest."""
    class_masks: bool = False
    """A mask for each class, of which a hypothesis has that of its class."""
    gauss_mode: Literal["onehot", "concat", "multiply", "add"] = "concat"
    """How a hypothesis' place reaches the features: as one more channel that is 1 in one cell or a Gaussian, multiplied
    with all channels, or added to all of them."""
    gauss_kind: Literal["half", "fwhm", "sigma"] = "half"
    """What ``gauss_radius`` is: where the Gaussian is half as high, its full width there, or its standard deviation."""
    gauss_radius: _Length = 7.0
    """In cells of the level of birth; the same region of the image on all levels."""
    offsets: bool = False
    """Two more channels: how far a cell is from the place of birth, to the right and down, in such radii."""


@dataclass(frozen=True)
class GrowthConfig:
    """Who is born, lives and dies."""

    max_alive: tuple[Positive, ...] = (80,)
    """Hypotheses of an image that live on, for each level or for all; where there are more, those with the lowest
    response at their own place go, before gradients are taken."""
    newborns: tuple[Count, ...] = (50,)
    """Most births in an image, for each level but the last or for all."""
    low_thresh: _Fraction = 0.2
    """Cells that are claimed by less than this give birth, those claimed least first."""
    min_spawn: Count = 0
    """So many births in any case, as far as there is room."""
    births: Literal["unclaimed", "learnt"] = "unclaimed"
    """Where hypotheses are born: in cells that are claimed least; or, whatever is claimed, where a map says so that
    learns the fullest cells of objects that no hypothesis has, such as a cup on a table that is one's, too."""
    topk_keep: Annotated[int, Field(ge=1, le=8)] = 3
    """A hypothesis lives on if it is among so many best ones of some cell."""
    keep_floor: _Fraction = 0.0
    """And if it claims that cell by more than this."""
    coverage: Literal["softmax", "max"] = "max"
    """What a hypothesis claims of a cell: its share among all of them, or its own probability."""
    guide: bool = False
    """A map of where objects of each class are is learnt on each level; cells without any do not count as unclaimed."""


@dataclass(frozen=True)
class ScoreConfig:
    """What the score of a hypothesis is made of."""

    convs: Count = 2
    """3 x 3 convolutions of the image's features before they are pooled."""
    hidden: Positive = 256
    """Width of the layer between the pooled features and the classes."""
    root_power: _Weight = 0.0
    """Times the probability of its mask at its own place to this power."""
    maskness: bool = True
    """Times the mean probability within its mask."""
    iou_head: bool = False
    """Times the overlap with an object that a branch of its own expects (arXiv:1903.00241)."""


@dataclass(frozen=True)
class MaskPyramidModel(ModelConfig):
    """The networks."""

    num_classes: int = 80
    """Classes without background; the data decides."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    start_stride: Literal[8, 16, 32, 64, 128, 256, 512, 1024] = 128
    """Pixels per cell of the level on which every cell starts a hypothesis."""
    last_stride: Literal[4, 8, 16, 32] = 16
    """Pixels per cell of the level that results are read from."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    growth: GrowthConfig = field(default_factory=GrowthConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level, the coarsest first."""
        count = (self.start_stride // self.last_stride).bit_length()
        return tuple(self.start_stride >> level for level in range(count))


@dataclass(frozen=True)
class LossConfig:
    """What is learnt, and how much it counts."""

    masks: Annotated[tuple[MaskLoss, ...], Field(min_length=1)] = ("ce",)
    """Between mask and target of a hypothesis: mean difference, mean square, cross entropy, dice; their sum."""
    levels: tuple[_Weight, ...] = (1.0,)
    """Weight of the masks' loss, for each level or for all."""
    targets: Literal["area", "nearest", "bilinear", "fraction"] = "fraction"
    """What a cell's target is: whether the object has at least half of its area, its first pixel, or of its middle
    ones; or the part that the object has of it."""
    by_area: bool = False
    """Divide a hypothesis' loss by its target's area instead of the map's, so that small objects count as much."""
    unmatched: _Weight = 1.0
    """Weight of hypotheses without a target, whose masks are to be empty."""
    missed: _Weight = 0.0
    """Weight of all hypotheses' probabilities on objects that none has, so that these are born later."""
    root: _Weight = 0.0
    """Weight of the cross entropy at a hypothesis' own place."""
    classes: _Weight = 1.0
    iou: _Weight = 1.0
    guide: _Weight = 1.0
    births: _Weight = 1.0


@dataclass(frozen=True)
class AssignConfig:
    """Which hypothesis learns which object."""

    size_ranges: tuple[tuple[_Weight, _Weight], ...] = ()
    """For each level, the smallest and largest root of width times height of an object that is learnt by hypotheses
    born there; none: all."""
    supporters: Literal["all", "best"] = "all"
    """All hypotheses of an object learn it, or that with the highest response at its place alone."""
    teach: bool = False
    """In training, objects without a hypothesis give birth to one at their middle, whatever is claimed there."""


@dataclass(frozen=True)
class StageConfig:
    """Levels that learn one after the other."""

    levels: Count = 0
    """Levels at the start; 0: all."""
    steps: Steps = 0
    """Steps after which the next level follows; 0: evaluations decide."""
    gain: _Weight = 0.02
    """A level is mature when an evaluation's ``segm/AP`` is not better than the one before by this."""


@dataclass(frozen=True)
class MaskPyramidSolver(WholeImageSolver):
    """Optimisation."""

    loss: LossConfig = field(default_factory=LossConfig)
    assign: AssignConfig = field(default_factory=AssignConfig)
    stage: StageConfig = field(default_factory=StageConfig)


@dataclass(frozen=True)
class PostprocessConfig(MaskPostprocessConfig):
    """From hypotheses to results."""

    score_thr: _Fraction = 0.05
    """Of a hypothesis, before suppression."""
    slots: Positive = 1
    """Times as many hypotheses may be born and live as in training, where gradients take the memory."""
    paint: bool = False
    """A pixel belongs to the mask with the highest score alone."""


@dataclass(frozen=True)
class MaskPyramidConfig(RunConfig):
    """Root of the configuration."""

    model: MaskPyramidModel = field(default_factory=MaskPyramidModel)
    solver: MaskPyramidSolver = field(default_factory=MaskPyramidSolver)
    input: InputConfig = field(default_factory=InputConfig)
    test: PostprocessConfig = field(default_factory=PostprocessConfig)

    def check(self) -> None:
        """Checks what spans several keys, once all of them are set.

        Raises:
            ConfigError: Naming the keys that do not fit together.
        """
        model, solver = self.model, self.solver
        model.backbone.check()
        levels = len(model.strides)
        if model.start_stride < model.last_stride:
            raise ConfigError(
                f"model.last_stride must be at most model.start_stride={model.start_stride}, got {model.last_stride}"
            )
        if model.last_stride > model.backbone.strides[-2]:
            raise ConfigError(
                f"model.last_stride must be at most {model.backbone.strides[-2]}, the stride of the backbone's last "
                f"stage, got {model.last_stride}"
            )
        for key, given, wanted in (
            ("model.growth.max_alive", model.growth.max_alive, levels),
            ("model.growth.newborns", model.growth.newborns, levels - 1),
            ("solver.loss.levels", solver.loss.levels, levels),
        ):
            if len(given) not in (1, wanted):
                raise ConfigError(f"{key} needs one number or {wanted}, got {list(given)}")
        ranges = solver.assign.size_ranges
        if len(ranges) not in (0, levels) or any(low > high for low, high in ranges):
            raise ConfigError(
                f"solver.assign.size_ranges needs {levels} pairs of rising numbers, or none, got "
                f"{[list(pair) for pair in ranges]}"
            )
        if solver.stage.levels > levels:
            raise ConfigError(f"solver.stage.levels must be at most {levels}, got {solver.stage.levels}")
        if solver.stage.steps and not solver.stage.levels:
            raise ConfigError(
                "solver.stage.steps is for levels after the first; set solver.stage.levels, or leave it 0"
            )
        if model.mask.generation == 2 and model.mask.block == "bottleneck" and model.mask.state_channel % 2:
            raise ConfigError(
                f"model.mask.state_channel must be even for block=bottleneck, got {model.mask.state_channel}"
            )

    def max_alive(self, level: int) -> int:
        """Most hypotheses of an image on a level."""
        return _of_level(self.model.growth.max_alive, level)

    def newborns(self, level: int) -> int:
        """Most births in an image on a level that is not the last."""
        return _of_level(self.model.growth.newborns, level)

    def loss_weight(self, level: int) -> float:
        """Of the masks of a level."""
        return _of_level(self.solver.loss.levels, level)


def _of_level(values: tuple[_Number, ...], level: int) -> _Number:
    return values[0] if len(values) == 1 else values[level]
