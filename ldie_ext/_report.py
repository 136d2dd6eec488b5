"""The text of ``python -m ldie_ext.info``."""

from __future__ import annotations

import platform
import sys

import torch

import ldie_ext
import ldie_ext.ops  # registers the ops that the report lists
from ldie_ext import _host, _library, _register


def _devices() -> list[str]:
    lines = [f"cpu    {torch.get_num_threads()} threads, capability {torch.backends.cpu.get_cpu_capability()}"]
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        lines.append(f"cuda:{index} {torch.cuda.get_device_name(index)}, sm_{major}{minor}")
    if torch.cuda.device_count() == 0:
        lines.append("cuda   none")
    return lines


def _libraries() -> list[str]:
    statuses = _library.load()
    lines = [f"{status.name:10} {'loaded' if status.loaded else 'not loaded'}: {status.reason}" for status in statuses]
    other = sorted(path.stem for path in _library.FOLDER.glob("_C*.so") if path.stem not in {s.name for s in statuses})
    lines += [f"{name:10} present, not needed here" for name in other]
    return lines


def report() -> str:
    """Versions, devices, libraries, build flags and ops, as text."""
    build = _host.build_info()
    sections = {
        "versions": [
            f"ldie_ext {ldie_ext.__version__}",
            f"torch {torch.__version__} (CUDA {torch.version.cuda or 'none'})",
            f"Python {sys.version.split()[0]} on {platform.platform()}",
        ],
        "devices": _devices(),
        "libraries": _libraries(),
        "build": [
            f"{build['compiler']}, {build['build_type']}, for CPU {build['cpu_capabilities']}",
            f"against torch {build['torch']}",
            f"nvcc {build['cuda']} for {build['cuda_architectures']}" if build["cuda"] else "without CUDA",
        ],
        "ops": sorted(_register.registrations),
    }
    return "\n".join(f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections.items())
