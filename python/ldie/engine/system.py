# SPDX-License-Identifier: Apache-2.0
"""What a system must provide so that the one training loop can train, evaluate and resume it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from ldie.config import RunConfig

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from typing_extensions import Self

    from ldie.data import CocoDataset, Prediction, Sample
    from ldie.engine.runtime import Runtime


@dataclass(frozen=True)
class Progress:
    """Where training stands when a log line is written."""

    step: int
    """Steps done, 1 for the first."""
    max_step: int
    seconds: float
    """Time of the steps since the last line."""
    trained_seconds: float
    """Time of all steps so far, those before a resume included."""
    lr: Mapping[str, float]
    """Learning rate of each optimizer."""

    @property
    def eta_seconds(self) -> float:
        """Expected time for the steps that are left."""
        return self.trained_seconds / self.step * (self.max_step - self.step)


class System(nn.Module, ABC):
    """A trainable, evaluable system: networks, optimizers, training step, prediction.

    It is an ``nn.Module``: its networks are submodules, so ``state_dict`` holds all weights, and whatever else it must
    remember across a resume (a phase, a count) is a registered buffer and travels along. Random numbers come from
    torch's generators, whose states the loop saves.
    """

    presets: ClassVar[Mapping[str, RunConfig]]
    """Named configurations; all of one type."""
    default_preset: ClassVar[str] = "tiny"
    best_metric: ClassVar[str] = "bbox/AP"
    """The metric, larger is better, that decides the best checkpoint."""

    runtime: Runtime
    """Set by the loop before the first step: device, autocast, and :meth:`Runtime.update` for optimizer steps."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any) -> Self:
        """The system with fresh weights, on the CPU; ``config.model.num_classes`` is that of the data."""

    def load_pretrained(self) -> None:
        """Loads the weights to start from where the configuration names some; only a fresh run's loop calls it.

        Raises:
            CheckpointError: They cannot be read or do not fit.
        """

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Optimizers by name, always the same objects; the loop sets learning rates and saves their states."""

    @abstractmethod
    def train_transform(self) -> Callable[..., Any]:
        """Augmentation of one sample, for :class:`ldie.data.TransformedDataset`."""

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Any:
        """A batch from transformed samples: tensors in dicts, lists, tuples or dataclasses; the loop moves it."""

    @abstractmethod
    def train_step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """One training step: forward under ``self.runtime.autocast()``, then ``self.runtime.update(...)``.

        Args:
            batch: What :meth:`collate` returned, on the device.
            step: Steps done before this one, 0 for the first.

        Returns:
            Scalars to log, by term; detached tensors on the device (the loop reads them without waiting).
        """

    @abstractmethod
    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Predictions for whole images, in original pixels, on the CPU; the loop calls it in eval mode, no grad."""

    def log_line(self, progress: Progress, means: Mapping[str, float]) -> str:
        """The console line of one logging interval; ``means`` are the terms' means over it."""
        lr = " ".join(f"{name} {value:.3g}" for name, value in progress.lr.items())
        losses = " ".join(f"{name} {value:.4g}" for name, value in means.items())
        return f"step {progress.step}/{progress.max_step} lr {lr} {losses} eta {progress.eta_seconds:.0f}s"

    def heatmaps(self, samples: Sequence[Sample]) -> dict[str, list[Tensor]]:
        """Maps [h, w] in 0..1 to overlay on each sample's picture, by name; none by default."""
        return {}

    def metrics(self, dataset: CocoDataset, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of predictions over the whole dataset: COCO's by default."""
        from ldie.engine.evaluation import coco_metrics

        return coco_metrics(dataset, predictions)
