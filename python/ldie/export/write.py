# SPDX-License-Identifier: Apache-2.0
"""Writing a graph, and reading the file again to see that it computes what the model does."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ldie.errors import ConfigError, ExportError
from ldie.export import FORMATS
from ldie.export.exportable import Example, Exportable, Format
from ldie.files import write_whole
from ldie.packages import is_installed

logger = logging.getLogger("ldie")


def find_format(name: str) -> Format:
    """The format of :data:`ldie.export.FORMATS` called ``name``.

    Raises:
        ConfigError: Packages that it needs are not installed.
    """
    found: Format = importlib.import_module(FORMATS[name]).FORMAT
    missing = [package for package in found.packages if not is_installed(package)]
    if missing:
        raise ConfigError(f"--format {name} needs {' and '.join(missing)}; pip install {' '.join(found.packages)}")
    return found


def write(exportable: Exportable, form: Format, path: Path, notes: Mapping[str, Any]) -> None:
    """Writes a graph; the file appears whole and after it has been compared with the model, or not at all.

    Args:
        exportable: The graph, and what it must agree with.
        form: Of the file.
        path: Of the file.
        notes: By name, what goes into it beside the graph; as JSON can hold it.

    Raises:
        ExportError: The graph has no such form, or the file computes something else than the model.
        CheckpointError: The file cannot be written.
    """
    save = form.convert(exportable, notes)

    def write_checked(temporary: Path) -> None:
        save(temporary)
        try:
            _check(temporary, form, exportable.examples)
        except (ExportError, ValueError) as error:  # outputs may not even be of the right number
            raise ExportError(f"{path}: not written, it would not be the model ({error}); report this") from error

    write_whole(path, write_checked)
    logger.info("written: %s (%.1f MB)", path, path.stat().st_size / 1e6)


def _check(path: Path, form: Format, examples: Sequence[Example]) -> None:
    """Compares what the file gives with what is expected, and says how near it is; or says that nothing runs it."""
    if not is_installed(form.runner):
        logger.warning("not checked: %s is not installed; pip install %s", form.runner, form.runner)
        return
    runner = f"{form.runner} {importlib.import_module(form.runner).__version__}"
    try:
        run = form.load(path)
    except NotImplementedError as error:
        logger.warning("not checked: %s lacks an operator (%s); pip install --upgrade %s", runner, error, form.runner)
        return
    for example in examples:
        logger.info("the same in %s, on %s: %s", runner, example.name, example.compare(run(example.inputs)))
