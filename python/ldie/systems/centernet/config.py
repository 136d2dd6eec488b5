# SPDX-License-Identifier: Apache-2.0
"""Configuration of CenterNet with a masked scale discriminator, and its presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ldie.config import ConfigError, ModelConfig, RunConfig, SolverConfig
from ldie.nn.blocks import Activation, Normalization


@dataclass(frozen=True)
class ExtractorConfig:
    """One extractor per scale: stem of stride ``down_ratio``, U-Net block, output convolution."""

    stem_stride: int = 4
    """Largest stride of the first convolution; 3 x 3 convolutions of stride 2 do what is left of ``down_ratio``."""
    depth: int = 2
    """Halvings inside the U-Net block."""
    activation: Activation = "leaky_relu"
    normalization: Normalization = "batch"


@dataclass(frozen=True)
class DetectorConfig:
    """The detector that all scales share."""

    input_channel: int = 64
    """Channels of the common feature space."""
    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the residual stages; the first keeps the size, every further one halves it."""
    blocks: int = 2
    """Residual blocks of a stage."""
    head_channel: int = 64
    """Hidden channels of each head."""
    activation: Activation = "leaky_relu"
    normalization: Normalization = "batch"


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator tells, at every cell, from which scale a feature comes."""

    hidden_channel: int = 64
    blocks: int = 5
    """Residual blocks."""
    activation: Activation = "leaky_relu"
    normalization: Normalization = "spectral"
    masking: bool = True
    """Only cells inside ground-truth boxes count."""
    masking_class_agnostic: bool = False
    """One mask for all classes (a cell counts once) instead of one per class (once for each class that covers it)."""
    normalize_loss_with_mask: bool = True
    """Divide by the mask's cells instead of all cells; no effect without ``masking``."""


@dataclass(frozen=True)
class CenterNetModel(ModelConfig):
    """The networks."""

    down_ratios: tuple[int, ...] = (4, 2, 1)
    """Stride of each scale's extractor: scale i sees crops of ``heatmap_size * down_ratios[i]`` pixels."""
    valid_scale: tuple[int, ...] = (0, 1, 2)
    """Scales in use, as indices into ``down_ratios``."""
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


@dataclass(frozen=True)
class DetectorSolver:
    """Optimisation of extractors and detector."""

    lr: float = 5e-4
    hm_loss_weight: float = 1.0
    hm_loss_alpha: float = 2.0
    hm_loss_beta: float = 4.0
    wh_loss_weight: float = 0.1
    reg_loss_weight: float = 1.0
    adv_loss_weight: float = 0.1
    gradient_clip: float = 0.0
    """Largest gradient norm; 0: no clipping."""
    init_train_iter: int = 5000
    """First phase: so many steps train the detector only, without the adversarial term."""


@dataclass(frozen=True)
class DiscriminatorSolver:
    """Optimisation of the discriminator."""

    lr: float = 2.5e-4
    adv_loss_weight: float = 0.1
    gradient_clip: float = 0.0
    """Largest gradient norm; 0: no clipping."""
    init_train_iter: int = 5000
    """Second phase: so many steps train the discriminator only; afterwards both train in every step."""


@dataclass(frozen=True)
class DataConfig:
    """Training crops and targets."""

    resize_range: tuple[float, float] = (0.6, 1.4)
    """Range of the horizontal and, drawn separately, the vertical resize factor."""
    heatmap_size: int = 128
    """Height and width of the common feature map in training."""
    box_threshold: tuple[float, ...] = (0.3, 0.95, 0.95)
    """By scale: a crop keeps a box when so much of its width and of its height is inside."""
    mirror: float = 0.5
    """How often crops are mirrored."""
    color_jitter: float = 0.4
    """Strength of the changes of brightness, contrast and saturation, and, times 45 degrees, of hue."""
    max_objects: int = 128
    """Boxes per image that get targets."""


@dataclass(frozen=True)
class CenterNetSolver(SolverConfig):
    """Optimisation."""

    contents_match: bool = False
    """Show all scales the same content, at resolutions in proportion to their down_ratios; otherwise every scale has a
    random crop of its own in training and the same image in evaluation."""
    adv_loss_fn: Literal["wasserstein", "wasserstain", "hinge"] = "wasserstein"
    """Adversarial loss; the second spelling is an alias of the first."""
    detector: DetectorSolver = field(default_factory=DetectorSolver)
    discriminator: DiscriminatorSolver = field(default_factory=DiscriminatorSolver)
    data: DataConfig = field(default_factory=DataConfig)

    @property
    def adversarial_kind(self) -> Literal["wasserstein", "hinge"]:
        """The kind of loss that ``adv_loss_fn`` names, whatever its spelling."""
        return "hinge" if self.adv_loss_fn == "hinge" else "wasserstein"


@dataclass(frozen=True)
class InputConfig:
    """Images on their way into the network."""

    mean: tuple[float, float, float] = (0.470, 0.447, 0.408)
    """Per channel R, G, B, of pixel values in 0..1."""
    std: tuple[float, float, float] = (0.278, 0.274, 0.289)
    max_size: int = 0
    """Images whose long side is larger are resized to it, in training and evaluation; 0: native resolution."""


@dataclass(frozen=True)
class PostprocessConfig:
    """Post-processing."""

    max_objects: int = 100
    """Detections of an image over all scales."""
    nms: bool = True
    """Class-agnostic NMS over the detections of all scales."""
    nms_threshold: float = 0.5


@dataclass(frozen=True)
class CenterNetConfig(RunConfig):
    """Root of CenterNet's configuration."""

    model: CenterNetModel = field(default_factory=CenterNetModel)
    solver: CenterNetSolver = field(default_factory=CenterNetSolver)
    input: InputConfig = field(default_factory=InputConfig)
    test: PostprocessConfig = field(default_factory=PostprocessConfig)

    def check(self) -> None:
        """Checks what spans several keys, once all of them are set.

        Raises:
            ConfigError: Naming the keys that do not fit together.
        """
        scales, model, data = len(self.model.down_ratios), self.model, self.solver.data
        used = model.valid_scale
        if not used or len(set(used)) != len(used) or not set(used) <= set(range(scales)):
            raise ConfigError(
                f"model.valid_scale must name scales 0..{scales - 1} of model.down_ratios, each once, got {list(used)}"
            )
        for side in ("detector", "discriminator"):
            rate = getattr(self.solver, side).lr
            if not 0 < rate < math.inf:
                raise ConfigError(f"solver.{side}.lr must be positive and finite, got {rate}")
        for ratio in (*model.down_ratios, model.extractor.stem_stride):
            if ratio < 1 or ratio & (ratio - 1):
                raise ConfigError(f"model.down_ratios and model.extractor.stem_stride take powers of two, got {ratio}")
        if len(data.box_threshold) != scales:
            raise ConfigError(
                f"solver.data.box_threshold must have one entry per scale of model.down_ratios ({scales}), "
                f"got {list(data.box_threshold)}"
            )
