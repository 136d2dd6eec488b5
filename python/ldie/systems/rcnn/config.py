# SPDX-License-Identifier: Apache-2.0
"""Configuration of Mask and Keypoint R-CNN."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from ldie.config import Count, LearningRate, ModelConfig, OwnSchedule, Positive, RunConfig
from ldie.durations import Steps
from ldie.errors import ConfigError
from ldie.nn.backbone import BackboneConfig, HeadNorm
from ldie.tasks.detection.whole_images import Convention, InputConfig, WholeImageSolver

Part = Literal["backbone", "proposal_generator", "roi_heads"]
PARTS: tuple[Part, ...] = ("backbone", "proposal_generator", "roi_heads")
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]
_Length = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class ProposalConfig:
    """Region proposals (arXiv:1506.01497)."""

    depth: Positive = 1
    """3 x 3 convolutions of the head."""
    anchor_sizes: tuple[tuple[_Length, ...], ...] = ((32,), (64,), (128,), (256,), (512,))
    """For each level, sides of square anchors in pixels."""
    anchor_ratios: Annotated[tuple[_Length, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    """Height / width."""
    anchor_offset: _Fraction = 0.0
    """Of the first anchor's centre from the image's corner, in strides."""
    high: _Fraction = 0.7
    """Overlap with an object from which an anchor is positive."""
    low: _Fraction = 0.3
    """Overlap with all objects below which an anchor is negative."""
    samples: Positive = 256
    """Anchors of an image in the losses."""
    positive_fraction: _Fraction = 0.5
    """The largest part of them that is positive."""
    pre_nms_train: Positive = 2000
    """Best anchors of each level that are looked at."""
    pre_nms_test: Positive = 1000
    post_nms_train: Positive = 1000
    """Proposals of an image."""
    post_nms_test: Positive = 1000
    nms_threshold: _Fraction = 0.7


@dataclass(frozen=True)
class BoxHeadConfig:
    """Classes and boxes of proposals."""

    pool: Positive = 7
    """Cells of a region's features along each side."""
    convs: Count = 0
    """3 x 3 convolutions before the linear layers, as wide as the pyramid."""
    linears: Positive = 2
    channel: Positive = 1024
    """Outputs of each linear layer."""
    normalization: HeadNorm = "none"
    class_agnostic: bool = False
    """One box for all classes instead of one for each."""
    weights: tuple[_Length, _Length, _Length, _Length] = (10.0, 10.0, 5.0, 5.0)
    """By what the box's offsets in x, y, width and height are multiplied."""
    threshold: _Fraction = 0.5
    """Overlap with an object from which a proposal is of its class; the others are background."""
    samples: Positive = 512
    """Proposals of an image in the losses."""
    positive_fraction: _Fraction = 0.25
    """The largest part of them that is not background."""


@dataclass(frozen=True)
class MaskHeadConfig:
    """Masks (arXiv:1703.06870)."""

    enabled: bool = True
    pool: Positive = 14
    """Cells of a region's features along each side; masks have twice as many."""
    convs: Positive = 4
    channel: Positive = 256
    normalization: HeadNorm = "none"


@dataclass(frozen=True)
class KeypointHeadConfig:
    """Keypoints (arXiv:1703.06870, section 5)."""

    enabled: bool = False
    pool: Positive = 14
    """Cells of a region's features along each side; heatmaps have four times as many."""
    convs: Positive = 8
    channel: Positive = 512


@dataclass(frozen=True)
class RCNNModel(ModelConfig):
    """The networks."""

    num_classes: int = 80
    """Classes without background; the data decides."""
    num_keypoints: int = 17
    """Of an object; the data decides."""
    convention: Convention = "torchvision"
    """Whose rounding of anchors, sampling points of regions, rule of levels, mask pixels and keypoint coordinates."""
    sampling_ratio: Annotated[int, Field(ge=-1, le=16)] | None = None
    """Sampling points of a cell of a region along each side; 0: as its size asks for; null: the convention's, which
    are 2 (torchvision) and 0 (detectron2)."""
    canonical_scale: Annotated[float, Field(gt=0)] = 224.0
    """Side of the regions that are pooled from stride 16."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    box_head: BoxHeadConfig = field(default_factory=BoxHeadConfig)
    mask_head: MaskHeadConfig = field(default_factory=MaskHeadConfig)
    keypoint_head: KeypointHeadConfig = field(default_factory=KeypointHeadConfig)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses, and where smooth L1 (arXiv:1504.08083) turns from square to linear (0: L1)."""

    objectness: _Weight = 1.0
    proposal_box: _Weight = 1.0
    classes: _Weight = 1.0
    box: _Weight = 1.0
    mask: _Weight = 1.0
    keypoint: _Weight = 1.0
    proposal_beta: _Weight = 0.0
    box_beta: _Weight = 0.0


@dataclass(frozen=True)
class PhaseConfig(OwnSchedule):
    """A stretch of training with parts, learning rate and schedule of its own; the schedule begins with the phase.

    Null, or left out: as the solver's own key of this name says.
    """

    length: Steps = 0
    """The last phase goes on to ``solver.max_iter``, whatever it says."""
    train: tuple[Part, ...] = PARTS
    """What learns; the other parts are constants, their statistics too. Losses are those of the proposals and of the
    heads that learn; where neither does, of both."""
    lr: LearningRate | None = None


@dataclass(frozen=True)
class RCNNSolver(WholeImageSolver):
    """Optimisation: stochastic gradient descent with momentum, or Adam."""

    lr: LearningRate = 0.02
    gradient_clip: _Weight = 0.0
    phases: tuple[PhaseConfig, ...] = ()
    """One after the other, then the last one goes on; none: all parts learn all the time."""
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True)
class PostprocessConfig:
    """From the networks' outputs to results."""

    score_threshold: _Fraction = 0.05
    nms_threshold: _Fraction = 0.5
    """Of the same class: a box is left out that overlaps a better one by more."""
    detections: Positive = 100
    """Of an image."""
    mask_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    keypoint_scale: Positive = 1
    """Keypoints are looked for in steps of one pixel divided by this."""


@dataclass(frozen=True)
class RCNNConfig(RunConfig):
    """Root of the configuration."""

    model: RCNNModel = field(default_factory=RCNNModel)
    solver: RCNNSolver = field(default_factory=RCNNSolver)
    input: InputConfig = field(default_factory=InputConfig)
    test: PostprocessConfig = field(default_factory=PostprocessConfig)

    def check(self) -> None:
        """Checks what spans several keys, once all of them are set.

        Raises:
            ConfigError: Naming the keys that do not fit together.
        """
        backbone, proposals = self.model.backbone, self.model.proposals
        backbone.check()
        levels, counts = len(backbone.strides), {len(sizes) for sizes in proposals.anchor_sizes}
        if len(proposals.anchor_sizes) != levels or len(counts) != 1 or 0 in counts:
            raise ConfigError(
                f"model.proposals.anchor_sizes must have as many sizes for each of the {levels} levels, got "
                f"{[list(sizes) for sizes in proposals.anchor_sizes]}"
            )
        if proposals.low > proposals.high:
            raise ConfigError(
                f"model.proposals.low must be at most model.proposals.high, got {proposals.low} and {proposals.high}"
            )
        for index, phase in enumerate(self.solver.phases):
            if not phase.train:
                raise ConfigError(f"solver.phases[{index}].train must have one of {', '.join(PARTS)}, got none")
            if phase.length == 0 and index < len(self.solver.phases) - 1:
                raise ConfigError(
                    f"solver.phases[{index}].length must be at least 1, got 0; only the last phase may go without one"
                )
