# SPDX-License-Identifier: Apache-2.0
"""What produced a run: versions and the command line."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib import metadata

from ldie.console import escaped


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; packages not installed are left out."""
    found = {"python": platform.python_version()}
    for package in ("ldie-ext", "torch", "numpy", "pillow", "faster-coco-eval", "safetensors"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """The command line of this process on one line, ready for a shell unless a word holds a line break."""
    return escaped(shlex.join(sys.orig_argv))
