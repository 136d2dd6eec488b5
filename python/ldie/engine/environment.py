# SPDX-License-Identifier: Apache-2.0
"""What produced a run: versions and the command line."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib import metadata


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on; packages not installed are left out."""
    found = {"python": platform.python_version()}
    for package in ("ldie-ext", "torch", "numpy", "pillow", "hotcoco", "safetensors"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """The command line of this process, ready for a shell."""
    return shlex.join(sys.orig_argv)
