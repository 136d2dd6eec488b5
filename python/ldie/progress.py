# SPDX-License-Identifier: Apache-2.0
"""Where a training stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
    epoch: float = 0.0
    """Epochs done."""
    samples: int = 0
    """Trained on since the last line, by all processes."""
    data_seconds: float = 0.0
    """How much of ``seconds`` this process waited for data."""
    memory: int = 0
    """Peak so far in bytes: of what is allocated on the GPU, or of this process on the CPU."""

    @property
    def samples_per_second(self) -> float:
        """Since the last line, by all processes."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def eta_seconds(self) -> float:
        """Expected time for the steps that are left."""
        return self.trained_seconds / self.step * (self.max_step - self.step)
