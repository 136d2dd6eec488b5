"""The package that a GPU machine is given: built elsewhere, for its Python and torch, so that it need not compile.

    PYTHONPATH=benchmarks python -m gpu.package          # with the Python and torch of that machine: build/gpu-package

It holds an installed ldie_ext and ldie with the baseline CPU library and kernels for one architecture, and
package.json, which says what it was built from. `make gpu-check` uses it where it fits the tree, and else builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import CARRIED_COMMIT, ROOT, git_commit

PACKAGE = CARRIED_COMMIT.parent
SITE = PACKAGE / "site"
SOURCES = ("csrc", "ldie_ext", "python", "CMakeLists.txt", "setup.py", "pyproject.toml")
BUILD = {"LDIE_CUDA": "ON", "LDIE_CPU_CAPABILITIES": "DEFAULT", "LDIE_CUDA_ARCHITECTURES": "90-real"}


def source_files() -> Iterator[Path]:
    for name in SOURCES:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (f for f in files if f.is_file() and f.suffix not in (".so", ".pyc") and ".egg-info" not in str(f))


def fingerprint() -> str:
    """A digest of all that the package is built from."""
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def facts() -> dict[str, Any]:
    """What a package must agree with."""
    import torch

    release = re.match(r"\d+\.\d+", torch.__version__)
    assert release is not None
    return {"python": sys.implementation.cache_tag, "torch": release[0], "sources": fingerprint()}


def misfit() -> str | None:
    """Why the package that was brought along cannot be used, or None."""
    if not CARRIED_COMMIT.exists():
        return "no package was brought along"
    carried = json.loads(CARRIED_COMMIT.read_text())
    different = [name for name, fact in facts().items() if carried.get(name) != fact]
    return f"the package was built for other {', '.join(different)}" if different else None


def install_command(target: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    return [*pip, "--no-compile", "--upgrade", "--target", str(target), str(ROOT)]


def unresolved(library: Path) -> list[str]:
    """Symbols that no library in reach defines, by `ldd -r` with torch's own libraries there."""
    import torch

    folder = Path(torch.__file__).parent / "lib"
    search = {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    done = subprocess.run(["ldd", "-r", str(library)], capture_output=True, text=True, env=search, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return sorted({line.split()[2] for line in lines if line.startswith("undefined symbol")})


def main() -> int:
    """Builds the package anew and says what its libraries leave open."""
    start = time.monotonic()
    shutil.rmtree(PACKAGE, ignore_errors=True)
    SITE.mkdir(parents=True)
    built = facts()
    subprocess.run(install_command(SITE), env={**os.environ, **BUILD}, cwd=ROOT, check=True)
    CARRIED_COMMIT.write_text(json.dumps({**built, "commit": git_commit()}, indent=1) + "\n")
    for library in sorted((SITE / "ldie_ext").glob("_C*.so")):
        # Python's own symbols are the interpreter's; the op libraries have none.
        print(
            f"{library.name}: {library.stat().st_size / 2**20:.1f} MiB, unresolved: {unresolved(library) or 'nothing'}"
        )
    print(
        f"{PACKAGE.relative_to(ROOT)} for {built['python']}, torch {built['torch']}: {time.monotonic() - start:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
