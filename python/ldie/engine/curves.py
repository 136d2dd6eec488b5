# SPDX-License-Identifier: Apache-2.0
"""Curves of a run as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ldie.files import write_whole

Curve: TypeAlias = Sequence[tuple[int, float]]
"""Steps and values."""


def plot_curves(curves: Mapping[str, Mapping[str, Curve]], path: Path, columns: int = 3) -> None:
    """Writes one PNG with a panel per entry of ``curves`` and, in each, a line per name of (step, value) pairs.

    The file appears whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = max(1, min(columns, len(curves)))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(5 * columns, 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, lines) in enumerate(curves.items()):
        axes = figure.add_subplot(rows, columns, index + 1, title=title, xlabel="step")
        for name, points in lines.items():
            steps, values = zip(*points)
            axes.plot(steps, values, label=name, marker="o" if len(points) < 3 else None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize="small")
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=100, format="png"))
