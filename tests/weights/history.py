"""A class by the name of mmengine's history of numbers, with what its checkpoints hold of it."""

from __future__ import annotations

import sys
import types

import numpy as np


class HistoryBuffer:
    """Two arrays and the statistics by name, as functions of the class."""

    def mean(self) -> float:
        return 0.0


HistoryBuffer.__module__ = "mmengine.logging.history_buffer"
HistoryBuffer.__qualname__ = "HistoryBuffer"


def history_buffer() -> HistoryBuffer:
    """One that can be pickled under mmengine's name: its module is there from now on."""
    module = sys.modules.setdefault(HistoryBuffer.__module__, types.ModuleType(HistoryBuffer.__module__))
    for parent in ("mmengine", "mmengine.logging"):
        sys.modules.setdefault(parent, types.ModuleType(parent))
    module.HistoryBuffer = HistoryBuffer
    buffer = HistoryBuffer()
    buffer._log_history = np.linspace(1, 0, 5)
    buffer._count_history = np.ones(5, dtype=np.int64)
    buffer._statistics_methods = {"mean": Attribute()}
    return buffer


class Attribute:
    """Pickled like a function of the class: ``getattr(HistoryBuffer, "mean")``."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, "mean")
