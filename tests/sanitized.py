# SPDX-License-Identifier: Apache-2.0
"""Builds ldie_ext's CPU libraries under sanitizers, with its Python files beside them, into build/sanitize/site."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "sanitize"


def build() -> Path:
    """Builds what is out of date; returns the folder to be on the path, before an installed ldie_ext."""
    tools = Path(sys.executable).parent
    cmake = shutil.which("cmake", path=str(tools)) or "cmake"
    configure = [
        cmake, "-S", ROOT, "-B", BUILD, "-G", "Ninja", "-DLDIE_SANITIZE=ON", "-DLDIE_CUDA=OFF",
        "-DLDIE_CPU_CAPABILITIES=AVX2", f"-DPython_EXECUTABLE={sys.executable}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([cmake, "--build", BUILD, "--parallel", "2"], check=True)
    package = BUILD / "site" / "ldie_ext"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "ldie_ext", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    subprocess.run([cmake, "--install", BUILD, "--prefix", package], check=True, stdout=subprocess.DEVNULL)
    return package.parent


if __name__ == "__main__":
    print(build())
