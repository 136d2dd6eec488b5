# SPDX-License-Identifier: Apache-2.0
"""Configuration of the editor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from ldie.config import Count, LearningRate, ModelConfig, OwnSchedule, Positive, RunConfig, SolverConfig
from ldie.durations import Steps
from ldie.errors import ConfigError
from ldie.tasks.editing.data_config import EditDataConfig
from ldie.tasks.editing.reading import ImageConfig as ImageConfig
from ldie.tasks.editing.reading import LanguageConfig as LanguageConfig
from ldie.tasks.editing.reading import check_senses

SMALLEST = 16
"""Side of a picture that VGG19's four poolings leave a cell of."""

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Training = Literal["supervised", "l1", "gan", "adapt_gan", "reinforce"]


@dataclass(frozen=True)
class DecoderConfig:
    """How steps are decided: one after the other, each from the picture as the one before has left it.

    Its states are twice as wide as ``language.hidden``, and its layers as many as ``language.layers``.
    """

    attention: bool = True
    """Look at all words at every step, not only at what the sentence became as a whole."""
    lstm: bool = True
    """Remember the steps before; false: a step knows the request, the picture and the operator of the step before."""
    embedding: Positive = 300
    """Width of an operator's vector."""
    saturation: Literal["full", "legacy"] = "full"
    """Range of the saturation parameter: -1 to 1, or as published -0.2 to 0.8."""
    levels: Count = 0
    """Values that a parameter can take: a choice among so many, which rewards can teach; 0: any in its range."""
    max_steps: Positive = 5
    """Steps of an episode at most."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """What tells edited pictures from targets, given source and request; it reads requests by an encoder of its own."""

    scales: Count = 0
    """Networks, each on a picture half as large as the one before; 0: there is none."""
    widths: tuple[Positive, ...] = (64, 128, 256)
    """Channels of the convolutions of stride 2."""
    text: Positive = 512
    """Channels that the request becomes; they are put beside the picture's."""
    hidden: Positive = 512
    """Channels of the convolutions behind that."""
    normalization: Literal["instance", "none"] = "instance"
    """Of the convolutions of stride 2 but the first. ``instance`` takes the mean of each map away, and with it what an
    edit does to a picture as a whole."""


@dataclass(frozen=True)
class EditorModel(ModelConfig):
    """The networks."""

    language: LanguageConfig = field(default_factory=LanguageConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


@dataclass(frozen=True)
class GanSolver(OwnSchedule):
    """Learning against the discriminator: every second step, beside the supervised ones."""

    lr: LearningRate = 2e-4
    """Of editor and discriminator in these steps; Adam's betas are 0.5 and 0.999."""
    loss: Literal["lsgan", "vanilla"] = "lsgan"
    weight: Weight = 1.0
    """Of the adversarial term of the editor."""
    feature_matching: Weight = 10.0
    """Of the distance between the discriminator's features of output and target; 0: off."""
    perceptual: Weight = 0.0
    """Of the distance between features of VGG19, whose weights ``perceptual_weights`` must name; 0: off."""
    perceptual_weights: str = ""
    """File of torchvision's VGG19 weights."""
    masked: bool = False
    """Count only the patches in a request's region; false: all."""


@dataclass(frozen=True)
class ReinforceSolver(OwnSchedule):
    """Learning from rewards (REINFORCE): operators and discrete parameters are drawn, and what helped becomes likelier.

    A step's reward is by how much it brings the picture nearer to the target.
    """

    lr: LearningRate = 5e-4
    """Of the steps that learn from rewards; they have an optimizer of their own."""
    baseline: Literal["self_critical", "constant", "none"] = "self_critical"
    """What a return is compared with: that of the greedy episode, a running mean, or nothing."""
    discount: Share = 1.0
    """Factor of a reward for every step that it lies ahead."""
    entropy: Weight = 0.01
    """Of what the entropy of the operators' probabilities lacks of the largest: keeps them from collapsing into one."""
    level_entropy: Weight = 0.0
    """The same of the levels of a step's parameters, of which it is the mean."""
    step_penalty: Weight = 0.005
    """Taken off the reward of every step but END, so that ending is better than a step that changes little."""
    allow_repeats: bool = False
    """Whether an episode may take an operator twice; also when it edits later on."""
    repeat_penalty: Weight = 0.0
    """Taken off the reward of an operator that the episode had already."""
    operator_reward: Weight = 0.0
    """Added where a step's operator is one of those of the truth, for the first time."""
    given: Literal["nothing", "operators", "order"] = "nothing"
    """What of the truth an episode may know: its operators (only they and END can be drawn) or also their order and
    number, so that parameters alone are learned."""
    warmup: Steps = 0
    """So many supervised steps come first."""


@dataclass(frozen=True)
class EditorSolver(SolverConfig):
    """How the editor learns."""

    batch_size: Positive = 64
    max_iter: Steps = 10_000
    lr: LearningRate = 1e-3
    training: Training = "supervised"
    """``supervised``: by steps that are known. ``l1``: every second step by the distance of an own episode's result
    from the target. ``gan``: every second step against a discriminator; ``adapt_gan``: to which the last picture of the
    known steps is as real as the target. ``reinforce``: by rewards, nothing is differentiated through pictures."""
    parameter_weight: Weight = 1.0
    """Of the squared error of parameters beside the operators' cross entropy."""
    explore: Share = 0.05
    """Share of an episode's draws of operators that ignore the probabilities."""
    gradient_clip: Weight = 0.0
    """Largest gradient norm; 0: no clipping."""
    pretrained: str = ""
    """File of weights to start from: an editor's, also one with other words and operators, or an image encoder's."""
    gan: GanSolver = field(default_factory=GanSolver)
    reinforce: ReinforceSolver = field(default_factory=ReinforceSolver)


@dataclass(frozen=True)
class EditorConfig(RunConfig):
    """Configuration of the system ``editing``."""

    model: EditorModel = field(default_factory=EditorModel)
    solver: EditorSolver = field(default_factory=EditorSolver)
    dataset: EditDataConfig = field(default_factory=EditDataConfig)

    def check(self) -> None:
        """Raises a ConfigError for keys that do not fit together."""
        model, solver = self.model, self.solver
        adversarial = solver.training in ("gan", "adapt_gan")
        if adversarial != (model.discriminator.scales > 0):
            wanted = "at least 1" if adversarial else "0"
            raise ConfigError(
                f"model.discriminator.scales must be {wanted} for solver.training={solver.training}, "
                f"got {model.discriminator.scales}"
            )
        levels = model.decoder.levels
        if not {"supervised": levels != 1, "reinforce": levels > 1}.get(solver.training, levels == 0):
            wanted = {"supervised": "0 or at least 2", "reinforce": "at least 2"}.get(solver.training, "0")
            raise ConfigError(
                f"model.decoder.levels must be {wanted} for solver.training={solver.training}, got {levels}"
            )
        if solver.reinforce.repeat_penalty and not solver.reinforce.allow_repeats:
            raise ConfigError(
                "solver.reinforce.repeat_penalty must be 0 without solver.reinforce.allow_repeats, got "
                f"{solver.reinforce.repeat_penalty}"
            )
        if bool(solver.gan.perceptual) != bool(solver.gan.perceptual_weights):
            raise ConfigError(
                "solver.gan.perceptual_weights must name a file of VGG19 weights where solver.gan.perceptual is not 0, "
                f"and none where it is; got {solver.gan.perceptual_weights or 'none'!r} and {solver.gan.perceptual:g}"
            )
        if solver.gan.perceptual and model.image.size < SMALLEST:
            raise ConfigError(
                f"model.image.size must be at least {SMALLEST} for solver.gan.perceptual, got {model.image.size}"
            )
        if adversarial and not model.discriminator.widths:
            raise ConfigError("model.discriminator.widths must have the channels of at least one layer, got none")
        check_senses(model.language, model.image)
