# SPDX-License-Identifier: Apache-2.0
"""The page of the mask pyramid's ablations: its table, its words, its curves."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldie.files import make_folder, write_text, write_whole
from systems.mask_pyramid_limits import Limits

PAGE, CURVES = "mask_pyramid_ablations.md", "mask_pyramid_ablations.png"
BEGIN, END = "<!-- begin: written by benchmarks/systems/mask_pyramid_ablation.py -->", "<!-- end -->"
_TITLE = "# The mask pyramid's choices, one by one"
_WAYS = {
    "births": "no hypothesis was born on them",
    "masks": "no mask fits them by half",
    "classes": "no fitting mask has their class",
    "ranking": "others are ranked before them, or they are found twice",
}
"""How objects are lost, in this order."""


@dataclass(frozen=True)
class Row:
    """A choice: the preset with some changes."""

    name: str
    group: str
    """Rows that are drawn together; empty: the preset itself, which is drawn with all of them."""
    changes: tuple[str, ...]
    """Assignments to keys."""


@dataclass(frozen=True)
class Run:
    """A row with one seed, when it is done."""

    seed: int
    steps: int
    minutes: float
    """Of training alone."""
    ap: float
    ap50: float
    curve: tuple[tuple[int, float], ...]
    """Steps and AP of all evaluations."""
    limits: Limits

    @property
    def losses(self) -> dict[str, float]:
        """Parts of all objects that are lost, by how."""
        steps = (1.0, self.limits.born, self.limits.outlined, self.limits.named, self.ap50)
        return {way: max(before - after, 0.0) for way, before, after in zip(_WAYS, steps, steps[1:])}


@dataclass(frozen=True)
class Outcome:
    """A row with all its seeds."""

    row: Row
    runs: tuple[Run, ...]

    def mean(self, value: Callable[[Run], float]) -> float:
        """Over the seeds."""
        return statistics.fmean(map(value, self.runs))

    @property
    def ap(self) -> float:
        return self.mean(lambda run: run.ap)

    @property
    def worst(self) -> str:
        """How most objects are lost."""
        return max(_WAYS, key=lambda way: self.mean(lambda run: run.losses[way]))


def write_page(
    docs: Path, outcomes: Sequence[Outcome], setting: str, command: str, pictures: Sequence[tuple[str, str]]
) -> None:
    """Writes the page and the curves; of a page that is there, what stands between the markers.

    Args:
        docs: Folder of the page; ``pictures`` is inside.
        outcomes: Rows that are done.
        setting: What they have in common, a sentence or more.
        command: That made them.
        pictures: Files in ``docs/pictures`` with what they show.
    """
    make_folder(docs / "pictures")
    draw_curves(outcomes, docs / "pictures" / CURVES)
    written = "\n\n".join(
        [
            f"{_wrapped(setting)}\n\n```sh\n{command}\n```",
            table(outcomes),
            *map(_wrapped, _words(outcomes)),
            f"![Mask AP over the steps of training, a panel for each kind of choice](pictures/{CURVES})",
            *(f"![{shown}](pictures/{file})" for file, shown in pictures),
        ]
    )
    path = docs / PAGE
    text = path.read_text(encoding="utf-8") if path.is_file() else f"{_TITLE}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(path, f"{before}{BEGIN}\n\n{written}\n\n{END}{after}")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def table(outcomes: Sequence[Outcome]) -> str:
    """A line for each row in Markdown."""
    lines = [
        "| row | changes | AP | AP50 | alive by level | minutes | steps | born | outlined | named | most lost by |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        first = outcome.runs[0]
        levels = range(len(first.limits.alive))
        alive = ", ".join(f"{outcome.mean(lambda run, k=level: run.limits.alive[k]):.1f}" for level in levels)
        cells = [
            f"`{outcome.row.name}`",
            ", ".join(f"`{change}`" for change in outcome.row.changes) or "-",
            _spread(outcome, lambda run: run.ap),
            _spread(outcome, lambda run: run.ap50),
            alive,
            f"{outcome.mean(lambda run: run.minutes):.1f}",
            f"{round(outcome.mean(lambda run: run.steps))}",
            *(_percent(outcome, name) for name in ("born", "outlined", "named")),
            outcome.worst,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(outcome: Outcome, value: Callable[[Run], float]) -> str:
    """The mean, and the range where there are several seeds."""
    values = [value(run) for run in outcome.runs]
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def _percent(outcome: Outcome, name: str) -> str:
    return f"{100 * outcome.mean(lambda run: getattr(run.limits, name)):.0f} %"


def _words(outcomes: Sequence[Outcome]) -> list[str]:
    """What the table says, in paragraphs."""
    legend = (
        "Of the objects in the validation images, *born* are those on which a hypothesis of the last level was born, "
        "*outlined* those that the mask of one overlaps by half, *named* those of which it has the class, too; AP50 is "
        "what ranking leaves of them. *Most lost by* is the step at which the largest part goes: births, masks, "
        "classes, or ranking, which are false finds and second ones. Minutes are those of training alone; *alive* are "
        "hypotheses of an image."
    )
    return [legend, *([_compared(outcomes)] if len(outcomes) > 1 else []), _limit(outcomes[0])]


def _compared(outcomes: Sequence[Outcome]) -> str:
    base, *others = outcomes
    ranked = sorted(others, key=lambda outcome: outcome.ap, reverse=True)
    changes = ", ".join(f"`{outcome.row.name}` {outcome.ap - base.ap:+.3f}" for outcome in ranked)
    return f"AP against `{base.row.name}`, from the best to the worst: {changes}."


def _limit(outcome: Outcome) -> str:
    losses = {way: outcome.mean(lambda run, w=way: run.losses[w]) for way in _WAYS}
    parts = "; ".join(f"{100 * lost:.1f} % because {_WAYS[way]}" for way, lost in losses.items())
    overlap = outcome.mean(lambda run: run.limits.overlap)
    return (
        f"What limits `{outcome.row.name}`: of {outcome.runs[0].limits.objects} objects it loses {parts}. An object "
        f"and its best mask overlap by {overlap:.2f} on average."
    )


def draw_curves(outcomes: Sequence[Outcome], path: Path) -> None:
    """AP over steps as a PNG: a panel for each group of rows, the preset in all of them; bands are ranges of seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(outcome.row.group for outcome in outcomes if outcome.row.group)) or [""]
    base = [outcome for outcome in outcomes if not outcome.row.group]
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.4 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, group in zip(all_axes, groups):
        axes.set_title(group or "preset")
        for outcome in base:
            _curve(axes, outcome, color="black", linewidth=2.2, zorder=3)
        own = [outcome for outcome in outcomes if outcome.row.group == group != ""]
        for number, outcome in enumerate(own):
            _curve(axes, outcome, color=f"C{number}", linewidth=1.6)
        axes.set_xlabel("step")
        axes.set_ylabel("mask AP")
        axes.label_outer()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", framealpha=0.6)
    all_axes[0].set_ylim(
        0, 1.08 * max(ap for outcome in outcomes for run in outcome.runs for _, ap in run.curve) + 0.01
    )
    for axes in all_axes[len(groups) :]:
        axes.set_visible(False)
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=110, format="png"))


def _curve(axes, outcome: Outcome, *, color: str, linewidth: float, zorder: int = 2) -> None:  # type: ignore[no-untyped-def]
    """A line with its band, of the steps that all seeds have."""
    curves = [dict(run.curve) for run in outcome.runs]
    steps = sorted(set(curves[0]).intersection(*curves[1:]))
    values = [[curve[step] for curve in curves] for step in steps]
    means = [statistics.fmean(each) for each in values]
    axes.plot(
        steps, means, label=outcome.row.name, color=color, linewidth=linewidth, zorder=zorder, marker="o", markersize=3
    )
    if len(curves) > 1:
        axes.fill_between(
            steps, [min(v) for v in values], [max(v) for v in values], color=color, alpha=0.15, linewidth=0
        )
