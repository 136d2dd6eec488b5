# SPDX-License-Identifier: Apache-2.0
"""What produced a run: time, place, versions and the command line."""

from __future__ import annotations

import platform
import resource
import shlex
import socket
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import torch

from ldie.console import escaped


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
    """The command line of this process on one line, ready for a shell unless a word holds a line break."""
    return escaped(shlex.join(sys.orig_argv))


def origin(work_dir: Path) -> dict[str, str]:
    """Time, host, git commit of the current folder if it is in a repository, work folder and command; each a line."""
    values = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "git": _commit(),
        "work_dir": str(work_dir.absolute()),
    }
    return {name: escaped(value) for name, value in values.items() if value} | {"command": command()}


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):  # no git, or none that answers
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def peak_memory(device: torch.device) -> int:
    """Most bytes so far: allocated on a GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
