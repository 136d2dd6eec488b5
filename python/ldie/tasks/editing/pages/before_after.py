# SPDX-License-Identifier: Apache-2.0
"""Pages to look at: before and after with a slider and the steps. One file each, without anything from a network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ldie.console import escaped
from ldie.tasks.editing.pages.step_words import numbers
from ldie_ext import RecipeStep

LONGEST = 1280
"""Pixels of the longer side of a picture in a page."""
_QUALITY = 88
_CURVES = {"COLOR_CURVE": ("#e5484d", "#30a46c", "#3e8bff"), "TONE_CURVE": ("#ddd",)}
_BOX, _PIECES = 72, 8

_STYLE = """
:root { color-scheme: dark; }
body { margin: 0; background: #1b1b1b; color: #ddd; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 16px; }
h1 { font-size: 18px; font-weight: 600; margin: 4px 0 12px; overflow-wrap: anywhere; }
figure { position: relative; margin: 0; line-height: 0; }
figure img { width: 100%; height: auto; display: block; }
figure img + img { position: absolute; inset: 0; height: 100%; }
figure i { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fff; }
figure b { position: absolute; top: 10px; padding: 6px 8px; background: #000a; font: 12px/1 system-ui; }
figure input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
figure:focus-within { outline: 2px solid #3e8bff; }
ol { list-style: none; display: flex; flex-wrap: wrap; gap: 8px; padding: 0; margin: 12px 0; }
button { font: inherit; text-align: left; color: #ddd; background: #2a2a2a; border: 1px solid #444; padding: 6px 10px; }
button { border-radius: 4px; cursor: pointer; min-height: 44px; }
button[aria-pressed=true] { border-color: #3e8bff; background: #20344f; }
button small { display: block; color: #aaa; }
svg { display: block; margin-top: 4px; background: #161616; }
"""
_SCRIPT = """
const figure = document.querySelector("figure"), [before, after] = figure.querySelectorAll("img");
const slider = figure.querySelector("input"), line = figure.querySelector("i");
const buttons = [...document.querySelectorAll("button")];
const move = () => {
  after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
  line.style.left = slider.value + "%";
};
const show = chosen => {
  after.src = chosen.dataset.picture || before.src;
  buttons.forEach(each => each.setAttribute("aria-pressed", each === chosen));
};
slider.addEventListener("input", move);
buttons.forEach(each => each.addEventListener("click", () => show(each)));
move();
show(buttons[buttons.length - 1]);
"""
_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>$style</style></head>
<body><main><h1>$title</h1>
<figure><img src="$before" alt="before"><img alt="after">
<i></i><b style="left:10px">before</b><b style="right:10px">after</b>
<input type="range" min="0" max="100" step="0.1" value="50" aria-label="how much of the picture is as before"></figure>
<ol>
$steps
</ol></main><script>$script</script></body></html>
""")


_GALLERY_STYLE = """
section { display: inline-block; margin: 0 12px 16px 0; vertical-align: top; }
section:first-of-type { display: block; }
h2 { font-size: 15px; font-weight: 400; margin: 0 0 4px; }
section img { margin-right: 2px; }
"""
_GALLERY = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>$style</style></head>
<body><main style="max-width: none"><h1>$title</h1>
$sections
</main></body></html>
""")


def gallery_page(title: str, rows: Mapping[str, Sequence[NDArray[Any]]]) -> str:
    """A page of pictures, each row with its own title."""
    sections = []
    for name, pictures in rows.items():
        images = "".join(f'<img src="{picture_link(picture)}" alt="{html.escape(name)}">' for picture in pictures)
        sections.append(f"<section><h2>{html.escape(name)}</h2>{images}</section>")
    return _GALLERY.substitute(
        title=html.escape(escaped(title)), style=_STYLE + _GALLERY_STYLE, sections="\n".join(sections)
    )


def before_and_after(
    name: str, before: NDArray[Any], results: Sequence[str], steps: Sequence[RecipeStep], notes: Sequence[str] = ()
) -> str:
    """The page of a photograph: a slider between before and after, and a button for each step.

    Args:
        name: Of the photograph.
        before: uint8 or uint16 [H, W, 3].
        results: After each step, by :func:`picture_link`.
        steps: What was done.
        notes: Why, for each of them, or nothing.
    """
    pictures = ["", *results]  # the first is in the page already
    labels = ["<small>before</small>original"]
    reasons = [f"<small>{html.escape(note)}</small>" for note in notes] or [""] * len(steps)
    labels += [
        f"<small>step {k}</small>{step_label(step)}{note}" for k, (step, note) in enumerate(zip(steps, reasons), 1)
    ]
    buttons = "\n".join(
        f'<li><button type="button" data-picture="{picture}">{label}</button></li>'
        for label, picture in zip(labels, pictures)
    )
    return _PAGE.substitute(
        title=html.escape(escaped(name)), style=_STYLE, script=_SCRIPT, before=picture_link(before), steps=buttons
    )


def small(pixels: NDArray[Any], longest: int = LONGEST) -> Image.Image:
    """A picture of uint8 or uint16 [H, W, 3] for people, no side longer than that."""
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def picture_link(pixels: NDArray[Any], longest: int = LONGEST) -> str:
    """A picture inside a page."""
    file = io.BytesIO()
    small(pixels, longest).save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def step_label(step: RecipeStep) -> str:
    """A step in words, as HTML, with its curves as a drawing."""
    drawing = _curves(step, _CURVES[step.name]) if step.name in _CURVES else ""
    return f"{html.escape(step.name)} {html.escape(numbers(step))}{drawing}"


def _curves(step: RecipeStep, colors: Sequence[str]) -> str:
    """Curves as a drawing: input to the right, output up."""
    lines = []
    for c, color in enumerate(colors):
        weights = np.array(step.params[c * _PIECES : (c + 1) * _PIECES])
        heights = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()]).clip(0, 1)
        points = " ".join(f"{_BOX * j / _PIECES:.1f},{_BOX * (1 - y):.1f}" for j, y in enumerate(heights))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    return f'<svg width="{_BOX}" height="{_BOX}" role="img" aria-label="curve">{"".join(lines)}</svg>'
