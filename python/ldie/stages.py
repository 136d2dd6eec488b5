# SPDX-License-Identifier: Apache-2.0
"""Names for the parts of inference, as profilers show them."""

from __future__ import annotations

from torch.profiler import record_function

PREFIX = "ldie::"
"""Of the label of a stage in a profile."""


def stage(name: str) -> record_function:
    """Context of a part of what a model's ``predict`` does, under a name of its own: ``networks``, ``decode``, ...

    ``ldie benchmark`` prints the time of every stage that it finds; of stages inside one another each has what is in
    no inner one. Without a profiler it costs microseconds.

    Example:
        >>> with stage("networks"):
        ...     maps = model(images)
    """
    return record_function(PREFIX + name)
