# SPDX-License-Identifier: Apache-2.0
"""An index page over runs: their metrics in one table, a picture of each, and the way to its page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from ldie.errors import DataError
from ldie.files import first_line, is_file, is_folder, write_text
from ldie.tasks.detection.images import one_line_errors
from ldie.tasks.editing.pages.before_after import picture_link
from ldie.tasks.editing.pages.request_pages import PAGE, STYLE, heads, of_all, text

METRICS, RUN_PAGE, SHEET = "metrics.json", "requests.html", Path("pictures/edits.png")
"""What a run's folder has: metrics, the page of its requests, a sheet of pictures."""
_THUMBNAIL = 300
_STYLE = """
main { max-width: none; }
tr + tr { border-top: 1px solid #3a3a3a; }
th:first-child, td:first-child { text-align: left; }
td img { display: block; }
"""


def index_of_runs(folders: Sequence[Path], home: Path) -> str:
    """A page with a row for each run: its name, its metrics, a picture, and a link to its page where it has one.

    A run that has not been evaluated yet has a row without metrics. Metrics of single operators are left out.

    Args:
        folders: Of the runs, in the order of the rows.
        home: The folder that the page will be in; links lead from there.

    Raises:
        DataError: A folder is not there, or its metrics or picture cannot be read; one line names the file.
    """
    runs = [(folder, _metrics(folder)) for folder in folders]
    names = of_all(name for _, metrics in runs for name in metrics)
    rows = [f"<tr><th>run</th><th></th>{heads(names)}</tr>"]
    rows += [_row(folder, metrics, names, home) for folder, metrics in runs]
    body = f'<div class="wide"><table>{"".join(rows)}</table></div>' if runs else '<p class="note">no runs</p>'
    return PAGE.substitute(
        title="1 run" if len(runs) == 1 else f"{len(runs)} runs", style=STYLE + _STYLE, body=body, script=""
    )


def write_index(folders: Sequence[Path], out: Path) -> None:
    """Writes :func:`index_of_runs` to a file; it appears whole or not at all."""
    write_text(out, index_of_runs(folders, out.parent))


def _row(folder: Path, metrics: Mapping[str, float], names: Sequence[str], home: Path) -> str:
    name = text(folder.resolve().name)
    if is_file(folder / RUN_PAGE):
        path = quote(os.path.relpath(folder / RUN_PAGE, home).replace(os.sep, "/"))
        name = f'<a href="{path}">{name}</a>'
    values = "".join(f"<td>{metrics[each]:.4g}</td>" if each in metrics else "<td></td>" for each in names)
    return f"<tr><td>{name}</td><td>{_thumbnail(folder / SHEET)}</td>{values}</tr>"


def _metrics(folder: Path) -> dict[str, float]:
    if not is_folder(folder):
        raise DataError(f"{folder}: no such folder; name the folders of runs")
    path = folder / METRICS
    if not is_file(path):
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); evaluate the run again") from error
    if not isinstance(found, dict) or not all(map(_is_number, found.values())):
        raise DataError(f"{path}: must hold numbers by name; evaluate the run again")
    return {name: float(value) for name, value in found.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _thumbnail(path: Path) -> str:
    """The top of a sheet of pictures, where there is one."""
    if not is_file(path):
        return ""
    with one_line_errors(path), Image.open(path) as image:
        part = image.convert("RGB").crop((0, 0, image.width, min(image.height, image.width // 4 + 1)))
    return f'<img src="{picture_link(np.asarray(part), _THUMBNAIL)}" alt="">'
