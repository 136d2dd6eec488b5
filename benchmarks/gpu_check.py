"""Everything that needs a GPU, in one command: build, CUDA tests, compute-sanitizer, benchmarks.

    python benchmarks/gpu_check.py [--wheels FOLDER] [--out benchmarks/results]

For a machine with a GPU and no network: it uses the Python that runs it (torch 2.11 or newer must be there), builds
with LDIE_CUDA=ON for the GPU at hand, installs into build/gpu-site with --no-index --no-deps, and takes missing Python
packages (pybind11, ninja, pytest, pytest-benchmark, torchvision, ...) from the folder of wheels. Each step has a time
limit, so that the whole stays below nine minutes; a failed step does not keep the others from running.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "gpu-site"
RAW = ROOT / "build" / "gpu-bench.json"


@dataclass
class Steps:
    """Runs commands one after the other and remembers which failed."""

    environment: dict[str, str]
    failed: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    def run(self, name: str, *command: object, limit: int, **extra: str) -> bool:
        """Runs one step under its time limit."""
        print(f"== {name} ({time.monotonic() - self.start:.0f} s)", flush=True)
        try:
            subprocess.run(
                [str(part) for part in command], env={**self.environment, **extra}, cwd=ROOT, timeout=limit, check=True
            )
        except (subprocess.SubprocessError, OSError) as error:
            print(f"!! {name}: {error}", flush=True)
            self.failed.append(name)
            return False
        return True


def architecture() -> str:
    """The GPU's architecture for nvcc; exits with advice where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        sys.exit(f"gpu-check needs a GPU that torch {torch.__version__} can use; there is none here")
    major, minor = torch.cuda.get_device_capability()
    return f"{major}{minor}-real"


def install(steps: Steps, wheels: Path | None) -> bool:
    """Wheels first, then the project itself, both without network and dependencies."""
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--upgrade", "--target", SITE)
    if wheels and not steps.run("wheels", *pip, *sorted(wheels.glob("*.whl")), limit=120):
        return False
    return steps.run("build and install", *pip, "--no-build-isolation", ROOT, limit=300)


def main() -> int:
    """Runs all steps; exit code 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this Python lacks")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where the result file goes")
    options = parser.parse_args()
    environment = {
        **os.environ,
        "LDIE_CUDA": "ON",
        "LDIE_CUDA_ARCHITECTURES": architecture(),
        "LDIE_CPU_CAPABILITIES": "DEFAULT;AVX512",
        "PYTHONPATH": str(SITE),
        "LDIE_BACKENDS": "cuda",
    }
    steps = Steps(environment)
    if not install(steps, options.wheels):
        return 1
    # The source tree's ldie_ext holds no libraries; -P and importlib mode keep it from hiding the installed one.
    pytest = (sys.executable, "-P", "-m", "pytest")
    steps.run("info", sys.executable, "-P", "-m", "ldie_ext.info", limit=60)
    steps.run("CUDA tests", *pytest, limit=150)
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    steps.run("compute-sanitizer", sanitizer, "--error-exitcode=9", *pytest, "-m", "sanitize", "-x", limit=120)
    bench = (*pytest, "-c", "benchmarks/pytest.ini", "--rootdir=benchmarks", "benchmarks", "-k", "cuda")
    if steps.run("benchmarks", *bench, f"--benchmark-json={RAW}", limit=150):
        steps.run("report", sys.executable, "-P", "benchmarks/report.py", RAW, "--out", options.out, limit=30)
    print(f"== done in {time.monotonic() - steps.start:.0f} s; failed: {', '.join(steps.failed) or 'nothing'}")
    return int(bool(steps.failed))


if __name__ == "__main__":
    sys.exit(main())
