# SPDX-License-Identifier: Apache-2.0
"""Configuration of CenterNet with a masked scale discriminator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ldie.config import Count, LearningRate, ModelConfig, OwnSchedule, Positive, RunConfig, SolverConfig, spelled
from ldie.durations import Steps
from ldie.errors import ConfigError
from ldie.nn.blocks import Activation, Normalization

_Activation = Annotated[Activation, spelled({"lrelu": "leaky_relu"})]


@dataclass(frozen=True)
class ExtractorConfig:
    """One extractor per scale."""

    type: Literal["unet", "stem"] = "unet"
    """``unet``: stem of stride ``down_ratio``, U-Net block, output convolution. ``stem``: that of CenterNet's published
    weights alone, 7 x 7 convolution and max-pooling; ``stem_stride`` and ``depth`` have no effect."""
    stem_stride: int = 4
    """Largest stride of the first convolution; 3 x 3 convolutions of stride 2 do what is left of ``down_ratio``."""
    depth: int = 2
    """Halvings inside the U-Net block."""
    activation: _Activation = "leaky_relu"
    normalization: Normalization = "batch"


@dataclass(frozen=True)
class DetectorConfig:
    """The detector that all scales share."""

    type: Literal["resnet18", "skip"] = "resnet18"
    """Steps back up to the input's grid: ``resnet18`` has deformable convolutions; ``skip`` is lighter, with ordinary
    convolutions and the features of the way down added."""
    image_input: bool = False
    """The common feature space is that of images: extractors give 3 channels and learn to show the image reduced to
    the feature map, the detector takes them."""
    input_channel: int = 64
    """Channels of the extractors, and of the common feature space unless ``image_input``."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of the residual stages; the first keeps the size, every further one halves it."""
    blocks: int = 2
    """Residual blocks of a stage."""
    head_channel: int = 64
    """Hidden channels of each head."""
    activation: _Activation = "leaky_relu"
    normalization: Normalization = "batch"


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator tells, at every cell, from which scale a feature comes."""

    type: Literal["residual", "residual_wo_padding", "style", "none"] = "residual"
    """``residual_wo_padding`` sees no border, its map is smaller than the features'; ``style`` tells the scale of a
    whole image from the correlations of its channels, and takes no masks; ``none``: all is learned from detection."""
    input_channel: int | None = None
    """So many of the feature channels, from the first; null: all."""
    hidden_channel: int = 64
    blocks: int = 5
    """Residual blocks."""
    activation: _Activation = "leaky_relu"
    normalization: Normalization = "spectral"
    masking: bool = True
    """Only cells inside ground-truth boxes count."""
    masking_class_agnostic: bool = False
    """One mask for all classes (a cell counts once) instead of one per class (once for each class that covers it)."""
    mask_round: Literal["trunc", "outward"] = "trunc"
    """Edges of boxes between cells: towards zero, as published, where thin boxes vanish; or outward."""
    normalize_loss_with_mask: bool = True
    """Divide by the mask's cells instead of all cells; no effect without ``masking``."""

    @property
    def margin(self) -> int:
        """Cells on each side of the feature map that have no score: one for each 3 x 3 convolution without padding."""
        return 2 + 2 * self.blocks if self.type == "residual_wo_padding" else 0


@dataclass(frozen=True)
class CenterNetModel(ModelConfig):
    """The networks."""

    num_classes: int = 80
    """Classes without background; the data decides."""
    down_ratios: tuple[int, ...] = (4, 2, 1)
    """Stride of each scale's extractor: scale i sees crops of ``heatmap_size * down_ratios[i]`` pixels."""
    valid_scale: tuple[int, ...] = (0, 1, 2)
    """Scales in use, as indices into ``down_ratios``."""
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    @property
    def feature_channel(self) -> int:
        """Channels of the common feature space."""
        return 3 if self.detector.image_input else self.detector.input_channel


@dataclass(frozen=True)
class ExtractorSolver:
    """Optimisation of the extractors, which share the detector's."""

    weight_fix: bool = False
    """Keep the extractor of scale 0 as it is, its batch-norm statistics too."""


@dataclass(frozen=True)
class DetectorSolver(OwnSchedule):
    """Optimisation of extractors and detector."""

    lr: LearningRate = 5e-4
    weight_fix: bool = False
    """Keep the detector as it is, its batch-norm statistics too; extractors learn."""
    hm_loss_weight: float = 1.0
    hm_loss_alpha: float = 2.0
    hm_loss_beta: float = 4.0
    wh_loss_weight: float = 0.1
    reg_loss_weight: float = 1.0
    adv_loss_weight: float = 0.1
    recon_loss_weight: float = 1.0
    """Of the distance between features and reduced image; only with ``model.detector.image_input``."""
    gradient_clip: float = 0.0
    """Largest gradient norm; 0: no clipping."""
    init_train_iter: Steps = 5000
    """First phase: so many steps train the detector only, without the adversarial term."""


@dataclass(frozen=True)
class DiscriminatorSolver(OwnSchedule):
    """Optimisation of the discriminator."""

    lr: LearningRate = 2.5e-4
    adv_loss_weight: float = 0.1
    gradient_clip: float = 0.0
    """Largest gradient norm; 0: no clipping."""
    init_train_iter: Steps = 5000
    """Second phase: so many steps train the discriminator only; afterwards both train in every step."""
    gp: bool = False
    """Hold the discriminator's slope between the features of two scales near 1 (gradient penalty)."""
    gp_weight: float = 1.0


@dataclass(frozen=True)
class DataConfig:
    """Training crops and targets."""

    resize_range: tuple[float, float] = (0.6, 1.4)
    """Range of the horizontal and, drawn separately, the vertical resize factor."""
    heatmap_size: int | tuple[int, int] = 128
    """Height and width of the common feature map in training; one number for both."""
    box_threshold: tuple[float, ...] = (0.3, 0.95, 0.95)
    """By scale: a crop keeps a box when so much of its width and of its height is inside."""
    mirror: float = 0.5
    """How often crops are mirrored."""
    color_jitter: float = 0.4
    """Strength of the changes of brightness, contrast and saturation, and, times 45 degrees, of hue."""
    max_objects: int = 128
    """Boxes per image that get targets."""

    @property
    def cells(self) -> tuple[int, int]:
        """(H, W) of the common feature map in training."""
        return (self.heatmap_size, self.heatmap_size) if isinstance(self.heatmap_size, int) else self.heatmap_size


@dataclass(frozen=True)
class CenterNetSolver(SolverConfig):
    """Optimisation."""

    contents_match: bool = False
    """Show all scales the same content, at resolutions in proportion to their down_ratios; otherwise every scale has a
    random crop of its own in training and the same image in evaluation."""
    adv_loss_fn: Annotated[Literal["wasserstein", "hinge"], spelled({"wasserstain": "wasserstein"})] = "wasserstein"
    """Adversarial loss."""
    legacy_inplace: bool = False
    """The discriminator's loss as the published code has it: there the detector's loss flips the sign of the true
    scale's score in place first, so the discriminator learns minus the mean of all. Only to compare with its logs."""
    imagenet_pretrained: bool = False
    """Start all extractors from that of scale 0 in ``imagenet_pretrained_model``."""
    imagenet_pretrained_model: str = ""
    """A .safetensors or .pth file."""
    pretrained: bool = False
    """Start the detector from ``pretrained_model``, and all extractors from that of scale 0 there."""
    pretrained_model: str = ""
    """A .safetensors or .pth file; for instance a checkpoint of an earlier run."""
    extractor: ExtractorSolver = field(default_factory=ExtractorSolver)
    detector: DetectorSolver = field(default_factory=DetectorSolver)
    discriminator: DiscriminatorSolver = field(default_factory=DiscriminatorSolver)
    data: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True)
class InputConfig:
    """Images on their way into the network."""

    bgr: bool = False
    """Channels in the order blue, green, red; ``mean`` and ``std`` then come in this order, too."""
    mean: tuple[float, float, float] = (0.470, 0.447, 0.408)
    """Per channel, of pixel values in 0..1."""
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
    pad_multiple: Count = 0
    """Images are put into the middle of black ones whose sides are the next larger multiples of so many pixels, as
    CenterNet's published test does with 32; 0: not."""
    crop_multiple: Positive = 1
    """Images are cropped on the right and at the bottom to whole multiples of so many pixels."""


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
        self._check_scales()
        self._check_discriminator()
        self._check_solver()

    def _check_scales(self) -> None:
        model, scales = self.model, len(self.model.down_ratios)
        used = model.valid_scale
        if not used or len(set(used)) != len(used) or not set(used) <= set(range(scales)):
            raise ConfigError(
                f"model.valid_scale must name scales 0..{scales - 1} of model.down_ratios, each once, got {list(used)}"
            )
        for ratio in (*model.down_ratios, model.extractor.stem_stride):
            if ratio < 1 or ratio & (ratio - 1):
                raise ConfigError(f"model.down_ratios and model.extractor.stem_stride take powers of two, got {ratio}")
        if len(self.solver.data.box_threshold) != scales:
            raise ConfigError(
                f"solver.data.box_threshold must have one entry per scale of model.down_ratios ({scales}), "
                f"got {list(self.solver.data.box_threshold)}"
            )

    def _check_discriminator(self) -> None:
        options, features = self.model.discriminator, self.model.feature_channel
        if options.input_channel is not None and not 1 <= options.input_channel <= features:
            raise ConfigError(
                f"model.discriminator.input_channel must be 1..{features}, the channels of the features, or null, "
                f"got {options.input_channel}"
            )
        if options.type == "style" and options.masking:
            raise ConfigError(
                "model.discriminator.type=style scores whole images, which masks of cells do not fit; "
                "set model.discriminator.masking=false"
            )
        smallest = 2 * options.margin + 1
        if min(self.solver.data.cells) < smallest:
            raise ConfigError(
                f"solver.data.heatmap_size must be at least {smallest} for this discriminator, "
                f"got {self.solver.data.heatmap_size}"
            )
        if self.solver.discriminator.gp and options.type == "none":
            raise ConfigError(
                "solver.discriminator.gp needs a discriminator; unset it, or set model.discriminator.type"
            )
        if self.solver.discriminator.gp and len(self.model.valid_scale) < 2:
            raise ConfigError("solver.discriminator.gp compares scales; name at least two in model.valid_scale")

    def _check_solver(self) -> None:
        solver = self.solver
        if solver.legacy_inplace and solver.adv_loss_fn != "wasserstein":
            raise ConfigError("solver.legacy_inplace is about solver.adv_loss_fn=wasserstein; unset one of them")
        for name in ("imagenet_pretrained", "pretrained"):
            if getattr(solver, name) and not getattr(solver, f"{name}_model"):
                raise ConfigError(f"solver.{name} needs the name of a file in solver.{name}_model")
        if solver.detector.weight_fix and solver.extractor.weight_fix and set(self.model.valid_scale) == {0}:
            raise ConfigError(
                "solver.detector.weight_fix and solver.extractor.weight_fix leave nothing to train; unset one of them"
            )
