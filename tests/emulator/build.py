# SPDX-License-Identifier: Apache-2.0
"""Builds the emulated libraries: ``python tests/emulator/build.py plain asan race``."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODES = ("plain", "asan", "race")


def ensure(mode: str, library: str = "emulator") -> Path:
    """Builds what is out of date for one mode and returns the folder of its libraries.

    Args:
        mode: ``plain``, ``asan`` or ``race``.
        library: ``_C_emulated``, all ops; ``planted``, the few kernels of its own tests; ``emulator``, both.

    Returns:
        The folder that holds ``_C_emulated.so`` and ``planted.so``.

    Raises:
        ValueError: The mode is none of these.
        RuntimeError: The build failed; the message holds its output.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    build = ROOT / "build" / f"emulator-{mode}"
    build.mkdir(parents=True, exist_ok=True)
    with (build / "lock").open("w") as lock:  # test processes may ask at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (build / "build.ninja").exists():
            _run(
                "-S", ROOT, "-B", build, "-G", "Ninja", f"-DLDIE_EMULATOR={mode}", "-DLDIE_CUDA=OFF",
                f"-DPython_EXECUTABLE={sys.executable}",
            )  # fmt: skip
        _run("--build", build, "--target", library, "-j", len(os.sched_getaffinity(0)))
    return ROOT / "tests" / "emulator" / "lib" / mode


def _run(*arguments: object) -> None:
    """Runs cmake, the one beside this Python first, silent unless it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=path)
    if cmake is None:
        raise RuntimeError("the emulator's build needs cmake and ninja: pip install cmake ninja")
    command = [cmake, *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")


if __name__ == "__main__":
    for name in sys.argv[1:] or MODES:
        print(ensure(name))
