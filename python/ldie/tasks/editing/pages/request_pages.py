# SPDX-License-Identifier: Apache-2.0
"""A page of requests: pictures after every step, steps in words, and which words of the request each step came from.

One file without anything from a network. Without JavaScript nothing is missing: which words a step came from stands in
a table; with it, they light up in the request while a step is pointed at.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from string import Template

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldie.console import escaped
from ldie.tasks.editing.dataset import Samples, each_of
from ldie.tasks.editing.metrics.image_metrics import l1
from ldie.tasks.editing.pages.before_after import picture_link, step_label
from ldie.tasks.editing.pages.request_sheet import outlined
from ldie.tasks.editing.pages.step_words import words
from ldie.tasks.editing.replay import after_each_step, picture_of
from ldie.tasks.editing.sample import EditPrediction, EditSample, EditSequence
from ldie_ext import EditOp, RecipeStep
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

MOST = 40
"""Requests on a page unless told otherwise."""
_SIDE, _EXACT = 256, 96
"""Pixels of the longer side of a picture, and up to which it is kept exactly: JPEG blurs colours of small pictures."""

STYLE = """
:root { color-scheme: dark; }
body { margin: 0; background: #1b1b1b; color: #ddd; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 16px; }
h1 { font-size: 20px; font-weight: 600; margin: 4px 0; overflow-wrap: anywhere; }
p { margin: 4px 0; overflow-wrap: anywhere; }
small, .note { color: #aaa; }
table { border-collapse: collapse; margin: 8px 0; font-variant-numeric: tabular-nums; }
td, th { padding: 3px 10px; text-align: right; font-weight: 400; }
th { color: #aaa; vertical-align: bottom; max-width: 7em; }
.wide { overflow-x: auto; }
a { color: #7db3ff; }
"""
_STYLE = """
section { border-top: 1px solid #3a3a3a; padding: 12px 0 16px; }
h2 { font-size: 17px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; margin: 10px 0; }
figure { margin: 0; width: 160px; }
figure img { width: 160px; display: block; image-rendering: pixelated; }
figure img.large { image-rendering: auto; }
figcaption { font-size: 13px; line-height: 1.35; padding: 4px 2px; overflow-wrap: anywhere; }
figcaption svg { display: block; margin-top: 4px; background: #161616; }
[data-step] { cursor: pointer; }
figure.lit { outline: 2px solid #3e8bff; outline-offset: 2px; }
tr.lit th { color: #fff; }
.words { font-size: 17px; margin: 6px 0; }
.words span { padding: 2px 5px; border-radius: 3px; display: inline-block; }
.attention td, .attention th { padding: 2px 7px; text-align: center; font-size: 13px; }
.attention th:first-child { text-align: left; max-width: none; white-space: nowrap; }
"""
_SCRIPT = """
for (const section of document.querySelectorAll("section")) {
  const shown = [...section.querySelectorAll(".words span")], rows = [...section.querySelectorAll("tbody tr")];
  const steps = [...section.querySelectorAll("[data-step]")];
  const light = k => {
    shown.forEach((word, i) => { if (rows[k]) word.style.background = rows[k].cells[i + 1].style.background; });
    steps.forEach(step => step.classList.toggle("lit", Number(step.dataset.step) === k));
  };
  for (const step of steps) {
    for (const kind of ["mouseenter", "focus", "click"]) {
      step.addEventListener(kind, () => light(Number(step.dataset.step)));
    }
  }
}
"""
PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>$style</style></head>
<body><main><h1>$title</h1>
$body
</main>$script</body></html>
""")


def request_page(
    title: str,
    samples: Samples,
    predictions: Sequence[EditPrediction],
    metrics: Mapping[str, float] | None = None,
    most: int = MOST,
) -> str:
    """The page of a run's requests, those first whose pictures ended the farthest from their targets.

    Args:
        title: Of the page.
        samples: What was asked and what was meant.
        predictions: One for each.
        metrics: Shown above, as far as they are not of single operators.
        most: How many requests are shown.

    Raises:
        ValueError: Not as many predictions as samples.
    """
    order = worst_first(samples, predictions)[:most]
    count = f"{len(order)} of {len(samples)} requests" + (", the worst first" if len(order) > 1 else "")
    table = metrics_table(metrics) if metrics else ""
    sections = [_section(samples[index], predictions[index]) for index in order]
    body = "\n".join([table, f'<p class="note">{count}</p>', *sections])
    script = f"<script>{_SCRIPT}</script>"
    return PAGE.substitute(title=text(title), style=STYLE + _STYLE, body=body, script=script)


def worst_first(samples: Samples, predictions: Sequence[EditPrediction]) -> list[int]:
    """Numbers of samples by their distance to the target, the largest first; last those without one."""
    distances = [_distances(*pair)[1] for pair in zip(each_of(samples), predictions, strict=True)]
    return sorted(range(len(samples)), key=lambda index: (math.isnan(distances[index]), -distances[index]))


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Metrics in one row, as HTML."""
    names = of_all(metrics)
    values = "".join(f"<td>{metrics[name]:.4g}</td>" for name in names)
    return f'<div class="wide"><table><tr>{heads(names)}</tr><tr>{values}</tr></table></div>'


def of_all(names: Iterable[str]) -> list[str]:
    """Metrics without those of single operators, each once."""
    return [name for name in dict.fromkeys(names) if "-" not in name]


def heads(names: Sequence[str]) -> str:
    """The heads of columns of metrics: ``actor/set_exact`` is "set exact" under a small "actor"."""
    pairs = [name.rpartition("/") for name in names]
    return "".join(f"<th><small>{text(group)}</small><br>{text(own.replace('_', ' '))}</th>" for group, _, own in pairs)


def text(characters: str) -> str:
    """Any text as HTML shows it, on one line."""
    return html.escape(escaped(characters))


def recipe_steps(steps: EditSequence) -> list[RecipeStep]:
    """A sequence's steps with the parameters that they use."""
    rows = zip(map(EditOp, steps.ops.tolist()), steps.params.tolist(), strict=True)
    return [RecipeStep(op.name, tuple(row[: EDIT_OPERATORS[op].parameters])) for op, row in rows]


def _section(sample: EditSample, prediction: EditPrediction) -> str:
    before, after = _distances(sample, prediction)
    facts = [text(sample.key), text(sample.kind)]
    if not math.isnan(after):
        facts.append(f"L1 {before:.4f} before, {after:.4f} after")
    lines = [f"<h2>{text(sample.request)}</h2>", f'<p class="note">{" &middot; ".join(facts)}</p>']
    pictures = f'<div class="pictures">{"".join(_figures(sample, prediction))}</div>'
    if prediction.steps is None or prediction.attention is None or not prediction.attention.numel():
        lines.append(pictures)
    else:
        lines += [_words(prediction.words, prediction.attention), pictures]
        lines.append(_attention(prediction.steps, prediction.words, prediction.attention))
    if sample.steps is not None:
        meant = "; ".join(map(words, recipe_steps(sample.steps))) or "nothing"
        lines.append(f'<p class="note">meant: {text(meant)}</p>')
    return f"<section>{''.join(lines)}</section>"


def _distances(sample: EditSample, prediction: EditPrediction) -> tuple[float, float]:
    """L1 between source and target, and between result and target; NaN where there is none of them."""
    picture = picture_of(sample, prediction)
    if sample.target is None or picture is None or not sample.source.shape == picture.shape == sample.target.shape:
        return math.nan, math.nan
    before, after = (float(l1(image[None], sample.target[None])) for image in (sample.source, picture))
    return before, after


def _figures(sample: EditSample, prediction: EditPrediction) -> list[str]:
    figures = [_figure(outlined(sample.source, sample.region), f"input{_where(sample.region)}")]
    result, last = picture_of(sample, prediction), sample.source
    if prediction.steps is not None:
        pictures = after_each_step(sample.source, prediction.steps, sample.region)
        last = pictures[-1]
        for k, (step, picture) in enumerate(zip(recipe_steps(prediction.steps), pictures[1:], strict=True)):
            ends = " &middot; output" if k + 2 == len(pictures) and _same(picture, result) else ""
            caption = f"<small>step {k + 1}{ends}</small><br>{step_label(step)}"
            figures.append(_figure(picture, f"step {k + 1}", caption, f' data-step="{k}" tabindex="0"'))
    if result is not None and (not _same(last, result) or len(figures) == 1):
        none = " (no steps)" if prediction.steps is not None and not len(prediction.steps) else ""
        figures.append(_figure(result, f"output{none}"))
    if sample.target is not None:
        figures.append(_figure(sample.target, "target"))
    return figures


def _where(region: Tensor | None) -> str:
    """On which side of the region's line edits act: outside where most of the picture's border is part of it."""
    if region is None:
        return ""
    border = torch.cat([region[0], region[-1], region[:, 0], region[:, -1]])
    return f"; edits act {'outside' if float(border.float().mean()) > 0.5 else 'inside'} the line"


def _same(picture: Tensor, other: Tensor | None) -> bool:
    return other is not None and picture.shape == other.shape and bool((picture == other).all())


def _figure(picture: Tensor, name: str, caption: str = "", marks: str = "") -> str:
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy())
    large = max(pixels.shape) > _EXACT
    link = picture_link(pixels, _SIDE) if large else _exact_link(Image.fromarray(pixels))
    kind = ' class="large"' if large else ""
    return f'<figure{marks}><img{kind} src="{link}" alt="{name}"><figcaption>{caption or name}</figcaption></figure>'


def _exact_link(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _words(names: Sequence[str], attention: Tensor) -> str:
    """The words as the model read them, shaded by all steps together."""
    spans = zip(names, _shades(attention.mean(0).tolist()), strict=True)
    return '<p class="words">' + " ".join(f"<span{shade}>{text(name)}</span>" for name, shade in spans) + "</p>"


def _attention(steps: EditSequence, names: Sequence[str], attention: Tensor) -> str:
    """How much of each step came from each word, in percent."""
    heads = "".join(f"<th>{text(name)}</th>" for name in names)
    rows = []
    for k, (step, shares) in enumerate(zip(recipe_steps(steps), attention.tolist(), strict=True)):
        cells = "".join(
            f"<td{shade}>{100 * share:.0f}</td>" for share, shade in zip(shares, _shades(shares), strict=True)
        )
        label = f"{k + 1} {step.name.lower().replace('_', ' ')}"
        rows.append(f'<tr data-step="{k}"><th>{label}</th>{cells}</tr>')
    head = f"<thead><tr><th>% from</th>{heads}</tr></thead>"
    return f'<div class="wide"><table class="attention">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _shades(shares: Sequence[float]) -> list[str]:
    """Backgrounds, the strongest word's the same whatever its share is."""
    most = max([*shares, 1e-9])
    return [f' style="background: rgb(62 139 255 / {0.85 * max(share, 0.0) / most:.2f})"' for share in shares]
