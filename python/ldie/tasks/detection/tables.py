# SPDX-License-Identifier: Apache-2.0
"""COCO's metrics as people know them: the lines of its own code, and a line for each class."""

from __future__ import annotations

from collections.abc import Mapping

from ldie.console import printable
from ldie.tasks.detection.metrics import STATS, Stat

_MEANS = {"AP": "Average Precision  (AP)", "AR": "Average Recall     (AR)"}


def metrics_table(metrics: Mapping[str, float]) -> str:
    """The metrics of :func:`ldie.tasks.detection.metrics.coco_metrics`, those that are there, on lines.

    Classes come last in their lines, since names have any width.
    """
    lines = []
    for kind, stats in STATS.items():
        said = [
            _line(name, stat, metrics[f"{kind}/{name}"]) for name, stat in stats.items() if f"{kind}/{name}" in metrics
        ]
        lines += [kind, *said] if said else []
    return "\n".join(lines + _class_lines(metrics))


def _line(name: str, stat: Stat, value: float) -> str:
    """As COCO's code prints it."""
    return (
        f" {_MEANS[name[:2]]} @[ IoU={stat.iou:<9} | area={stat.area:>6} | maxDets={stat.detections:>3} ] = {value:.3f}"
    )


def _class_lines(metrics: Mapping[str, float]) -> list[str]:
    names = [name.partition("-")[2] for name in metrics if name.startswith("bbox/AP-")]
    if not names:
        return []
    kinds = [kind for kind in STATS if f"{kind}/AP-{names[0]}" in metrics]
    lines = ["".join(f"{f'{kind} AP':>14}{'AP50':>8}{'objects':>9}" for kind in kinds) + "  class"]
    for name in names:
        figures = ""
        for kind in kinds:
            ap, ap50, objects = (metrics[f"{kind}/{stat}-{name}"] for stat in ("AP", "AP50", "objects"))
            figures += f"{_figure(ap):>14}{_figure(ap50):>8}{objects:>9}"
        lines.append(f"{figures}  {printable(name)}")
    return lines


def _figure(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"
