"""What this installation is and can use: ``python -m ldie_ext.info``."""

from __future__ import annotations

import re
import sys
from importlib import metadata

OLDEST_TORCH = (2, 11)


def main() -> int:
    """Prints the report, or in one line why there is none."""
    problem = _torch_problem()
    if problem is None:
        try:
            from ldie_ext import _report  # imports torch and loads the native libraries
        except (ImportError, OSError) as error:  # an OSError: a library that torch itself lacks
            problem = " ".join(str(error).split())
    if problem is not None:
        print(f"ldie_ext: {problem}", file=sys.stderr)
        return 1
    print(_report.report())
    return 0


def _torch_problem() -> str | None:
    """What is wrong with the torch that is installed, without importing it."""
    oldest = ".".join(map(str, OLDEST_TORCH))
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return f"torch is not installed; pip install 'torch>={oldest}'"
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_TORCH:
        return f"torch {version} is too old; pip install 'torch>={oldest}'"
    return None


if __name__ == "__main__":
    sys.exit(main())
