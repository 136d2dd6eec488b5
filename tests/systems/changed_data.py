# SPDX-License-Identifier: Apache-2.0
"""Generated data of which something was changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Content = dict[str, Any]
"""Of an annotation file."""


def changed_copy(data: Path, root: Path, change: Callable[[Content], object]) -> Path:
    """A folder with the same shapes, but for what a function changes in each annotation file."""
    shutil.copytree(data, root)
    (root / "shapes.json").unlink()
    for file in (root / "annotations").iterdir():
        change_file(file, change)
    return root


def change_file(file: Path, change: Callable[[Content], object]) -> None:
    """Changes an annotation file by a function."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
