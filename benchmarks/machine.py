"""What a result says about the machine and the tree it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CARRIED_COMMIT = ROOT / "build" / "gpu-package" / "package.json"


def output_of(command: Sequence[str]) -> str:
    """What a command prints, or nothing where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def git_commit() -> str:
    """The commit that is measured, with a plus sign when the tree has changes."""
    return output_of(["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=10"]) or "unknown"


def carried_commit() -> str | None:
    """The commit of the package that was brought along: a copy of the tree may lack its history."""
    return json.loads(CARRIED_COMMIT.read_text())["commit"] if CARRIED_COMMIT.exists() else None


def describe() -> dict[str, Any]:
    """GPU, versions, commit and time."""
    import torch

    try:
        import torchvision
    except (ImportError, RuntimeError):
        torchvision = None
    fields = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem"
    available = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if available else None,
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count if available else None,
        "l2_bytes": torch.cuda.get_device_properties(0).L2_cache_size if available else None,
        "nvidia_smi": output_of(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]),
        "torch": torch.__version__,
        "torchvision": getattr(torchvision, "__version__", None),
        "cuda": torch.version.cuda,
        "nvcc": output_of(["nvcc", "--version"]).rpartition("\n")[2],
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "commit": carried_commit() or git_commit(),
        "date": time.strftime("%Y-%m-%d"),
    }
