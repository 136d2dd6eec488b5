# SPDX-License-Identifier: Apache-2.0
"""What a task, a model and a recipe are, so that one loop trains, evaluates, resumes and reports all of them.

A task says what the data is, a model what is computed from it, a recipe how the model learns. A :class:`System` is one
of each under a name. The loop (:mod:`ldie.engine`) knows these classes only: no images, boxes or classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ldie.config import DatasetConfig, RunConfig
from ldie.errors import ConfigError
from ldie.export.exportable import Exportable
from ldie.progress import Progress as Progress
from ldie.sampling import SampleKey, ShuffledSampler
from ldie.schedule import lr_factor
from ldie.weights.published import Published

if TYPE_CHECKING:
    from numpy.random import Generator
    from typing_extensions import Self

Facts: TypeAlias = Mapping[str, Any]
"""What a model must know of its data (classes, keypoint names, vocabulary, ...), as JSON can hold it."""
Results: TypeAlias = Mapping[Hashable, Any]
"""What a model found, by the key of the sample it was found in."""


class Dataset(Protocol):
    """Samples by index, each read anew."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Runtime(Protocol):
    """What a training step gets from the loop: device, precision, and the one way to take an optimizer step.

    Only the parameters of an optimizer get gradients from its loss, so several optimizers can step on one graph: take
    all gradients first, then apply them.

    With ``solver.accumulate`` of k the loop gives a step's k batches one after the other. What :meth:`gradients` takes
    is then the k-th part of a sum over them, and :meth:`apply` steps with the last only. That equals one batch of all
    of them where a loss is a mean over samples and all gradients are taken before the first step; batch normalisation,
    and a mean over what the data counts, see one batch at a time.
    """

    device: torch.device

    @property
    def world_size(self) -> int:
        """How many processes train together, each on a batch of its own."""

    def total(self, counts: Tensor) -> Tensor:
        """Sum over the processes; the host does not wait for the device.

        Averaged gradients are those of all processes' batches together only where every process has the same weight in
        them. A loss that is a mean over something whose number the data decides (peaks, covered cells, matched boxes)
        is to be multiplied by that number and divided by its total over ``world_size``.
        """

    def replicate(self, module: nn.Module) -> nn.Module:
        """The module to call in training steps that are one forward of it and one backward.

        On several processes it is a DistributedDataParallel, which averages gradients during the backward;
        :meth:`apply` does so right before the step for all other parameters. Call it in the recipe's constructor, once
        it is settled which parameters learn.
        """

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""

    def gradients(
        self, optimizer: Optimizer, loss: Tensor, *, retain_graph: bool = False, accumulate: bool = False
    ) -> None:
        """Backward of ``loss`` into the optimizer's own parameters.

        Args:
            optimizer: Whose parameters.
            loss: Scalar.
            retain_graph: Keep the graph, for another optimizer's loss.
            accumulate: Add to the gradients that are there instead of replacing them.
        """

    def apply(self, optimizer: Optimizer, clip: float = 0.0) -> None:
        """Averages the gradients over ranks, clips their norm to ``clip`` (0: not) and steps."""

    def update(self, optimizer: Optimizer, loss: Tensor, clip: float = 0.0) -> None:
        """:meth:`gradients`, then :meth:`apply`."""


class Model(nn.Module, ABC):
    """Networks and what is computed with them; complete without optimizers, loop or runtime.

    A plain module: its ``state_dict`` holds all weights, ``forward`` is what the networks compute and can be exported
    or compiled, ``predict`` goes from inputs as the task gives them to results as the task takes them.
    """

    config: RunConfig
    """The configuration it was made with, completed by the facts."""
    facts: Facts
    """What it knows of its data."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any, facts: Facts) -> Self:
        """The model with fresh weights, on the CPU.

        Raises:
            ConfigError: Keys that do not fit together.
        """

    @abstractmethod
    def predict(self, inputs: Any) -> list[Any]:
        """One result for each of the inputs, on the CPU. Call it in eval mode and without gradients."""

    def exportable(self, size: tuple[int, int] | None, batch_size: int, inputs: Sequence[Any] = ()) -> Exportable:
        """What can be exported, or a ConfigError if nothing can; the model is on the CPU and in eval mode.

        Args:
            size: (H, W) of an input; None: the model's own choice.
            batch_size: How many inputs it takes.
            inputs: What to compare graph and model on beside random inputs, as :meth:`predict` takes them.
        """
        raise ConfigError(f"{type(self).__name__} cannot be exported yet; ldie predict and ldie.load run it")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


class Recipe(ABC):
    """How a model learns: data as it takes them, optimizers, phases, the training step.

    It owns its backward passes and optimizer steps, so several optimizers, alternating phases and its own accumulation
    need nothing from the loop. Random numbers come from torch's generators, whose states the loop saves.

    Args:
        model: On its device.
        config: The model's own.
        runtime: Device, precision, optimizer steps.
    """

    best_metric: ClassVar[str]
    """The metric, larger is better, that decides the best checkpoint."""
    fixed_on_resume: ClassVar[tuple[str, ...]] = ()
    """Keys and sections of the configuration that a run cannot go on with when they change, beside those of the loop
    (:data:`ldie.engine.changes.FIXED`): what only a fresh run reads, what the weights rely on."""

    def __init__(self, model: Any, config: Any, runtime: Runtime) -> None:
        self.model = model
        self.config = config
        self.runtime = runtime

    @property
    @abstractmethod
    def optimizers(self) -> Mapping[str, Optimizer]:
        """Optimizers by name, always the same objects; the loop sets learning rates and saves what they learn.

        Options of their groups are the constructor's, also on a resume: so changed keys take effect, and an option that
        changes over time belongs into :meth:`resume_state`.
        """

    def lr_factor(self, name: str, step: int) -> float:
        """What an optimizer's own learning rates are multiplied by after ``step`` steps: the solver's schedule.

        Where an optimizer has a section of its own, an :class:`ldie.config.OwnSchedule`:
        ``lr_factor(section.over(solver), step)``.
        """
        return lr_factor(self.config.solver, step)

    def compiled(self) -> Sequence[nn.Module]:
        """The modules that :meth:`train_step` calls, for ``solver.compile``; none by default, which refuses it."""
        return ()

    def check_data(self, dataset: Any) -> None:
        """Checks that there is what the model is to learn from, before anything is written; nothing by default.

        Raises:
            DataError: There is not.
        """

    def load_pretrained(self) -> None:
        """Loads the weights to start from where the configuration names some; only a fresh run's loop calls it.

        Raises:
            CheckpointError: They cannot be read or do not fit.
        """

    def train_mode(self) -> None:
        """Puts the model into training mode, also after an evaluation; networks that do not learn stay in eval mode."""
        self.model.train()

    def sampler(self, length: int, *, rank: int, world_size: int, start: int) -> Iterable[SampleKey]:
        """This rank's samples without end, from the one after ``start``; by default every epoch a new permutation."""
        return ShuffledSampler(length, seed=self.config.seed, rank=rank, world_size=world_size, start=start)

    @abstractmethod
    def transform(self, sample: Any, rng: Generator) -> Any:
        """Augmentation of one sample; all its random numbers come from ``rng``."""

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Any:
        """A batch from transformed samples: tensors in dicts, lists, tuples or dataclasses; the loop moves it."""

    @abstractmethod
    def train_step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """One training step: forward under ``runtime.autocast()``, then ``runtime.update(...)``.

        With ``solver.accumulate`` it is called for every batch of the step.

        Args:
            batch: What :meth:`collate` returned, on the device.
            step: Steps done before this one, 0 for the first.

        Returns:
            Scalars to log, by term; detached tensors on the device (the loop reads them without waiting).
        """

    def on_evaluation(self, metrics: Mapping[str, float]) -> None:
        """Called after every evaluation; for schedules or phases that follow metrics."""

    def resume_state(self) -> dict[str, Any]:
        """What a resume needs beside weights and optimizers: replay buffers, accumulated gradients, phases.

        Tensors and plain values; every rank has its own.
        """
        return {}

    def load_resume_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`resume_state` gave."""

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """The console line of one logging interval; ``means`` are the terms' means over it."""
        lr = " ".join(f"{name} {value:.3g}" for name, value in progress.lr.items())
        losses = " ".join(f"{name} {value:.4g}" for name, value in means.items())
        speed = f"{progress.samples_per_second:.1f} samples/s (data {progress.data_seconds:.1f}s)"
        return (
            f"step {progress.step}/{progress.max_step} epoch {progress.epoch:.2f} lr {lr} {losses} {speed} "
            f"{progress.memory / 2**30:.2f} GiB eta {progress.eta_seconds:.0f}s"
        )


class Task(ABC):
    """What the data is: how it is opened, measured, reported and shown."""

    data: ClassVar[type[DatasetConfig]] = DatasetConfig
    """The section of a configuration that names it."""
    files: ClassVar[tuple[str, ...]] = ()
    """What :meth:`report` writes into a run's folder beside ``pictures/``."""

    def prepare(self, config: RunConfig) -> None:
        """Makes data that has to be made first; on one rank only, before any rank opens it."""

    @abstractmethod
    def open(self, config: RunConfig, splits: Sequence[str]) -> list[Any]:
        """The named splits of the configured data; they fit together.

        Raises:
            DataError: Missing, malformed or of different kinds.
        """

    @abstractmethod
    def facts(self, dataset: Any) -> Facts:
        """What a model must know of the data; saved with every checkpoint."""

    @abstractmethod
    def facts_without_data(self, config: Any) -> Facts:
        """Facts for a model that has seen no data yet, as far as the configuration tells."""

    def validate(self, facts: Facts) -> None:
        """Checks facts that were read from a file.

        Raises:
            ValueError: They cannot be those of this task.
        """

    def check(self, dataset: Any, facts: Facts, origin: str) -> None:
        """Checks that a model with these facts can be evaluated on a data set.

        Args:
            dataset: To evaluate on.
            facts: Of the data that the model was trained on.
            origin: Where the model comes from, for the message.

        Raises:
            DataError: It cannot.
        """

    @abstractmethod
    def key(self, sample: Any) -> Hashable:
        """What tells a sample from all others of its split; results are kept by it."""

    def inputs(self, samples: Sequence[Any]) -> Any:
        """What a model's ``predict`` takes of samples: no truth. The samples themselves by default."""
        return samples

    @abstractmethod
    def metrics(self, dataset: Any, results: Results, *, detailed: bool = False) -> dict[str, float]:
        """Metrics over a whole data set, from a result for each of its samples.

        Args:
            dataset: The samples, with their truth.
            results: By :meth:`key`.
            detailed: Add metrics of parts, such as single classes, where the task has some.
        """

    def headline(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """The metrics to print and to draw curves of: all by default."""
        return metrics

    def table(self, metrics: Mapping[str, float]) -> str:
        """All metrics as people of the field read them, on lines; empty by default: the headline has them all."""
        return ""

    @abstractmethod
    def report(self, folder: Path, dataset: Any, results: Results, model: Any) -> None:
        """Writes what people want to see of an evaluation: :attr:`files`, and pictures into ``folder/pictures``."""

    @abstractmethod
    def infer(self, model: Any, inputs: Any, batch_size: int = 1) -> list[Any]:
        """What a model finds in inputs as people have them: files, objects in memory, one or a list.

        Args:
            model: In eval mode.
            inputs: One or a list.
            batch_size: How many go through the model together.

        Returns:
            A result for each, with what is needed to understand and to draw it.
        """

    def pictured(self, images: Sequence[Any]) -> Sequence[Any]:
        """What :meth:`infer` takes where there are pictures alone, to be measured: these, by default."""
        return images

    @abstractmethod
    def predict(
        self, model: Any, inputs: Sequence[Path], out: Path, *, batch_size: int = 1, min_score: float = 0.0
    ) -> None:
        """Runs a model on files and writes what it found.

        Args:
            model: In eval mode.
            inputs: Files, or folders of them.
            out: Folder; nothing is written unless every input can be read.
            batch_size: How many go through the model together.
            min_score: Weaker results are not drawn.
        """

    @abstractmethod
    def show(self, config: RunConfig, split: str, count: int, out: Path) -> None:
        """Writes pictures of the first ``count`` samples of a split; what has to be made for that is made first."""


@dataclass(frozen=True)
class System:
    """A task, a model and a recipe that belong together, under a name."""

    name: str
    task: Task
    model: type[Model]
    recipe: type[Recipe]
    presets: Mapping[str, RunConfig]
    """Named configurations; all of one type."""
    default_preset: str = "tiny"
    published: Mapping[str, Published] = field(default_factory=dict)
    """Weights that ``ldie import`` can take over, by the preset that they are for."""

    def preset(self, name: str | None = None) -> RunConfig:
        """A named configuration, by default the system's own.

        Raises:
            ConfigError: No such preset.
        """
        name = name or self.default_preset
        if name not in self.presets:
            raise ConfigError(f"unknown preset {name!r}; known: {', '.join(self.presets)}")
        return self.presets[name]
