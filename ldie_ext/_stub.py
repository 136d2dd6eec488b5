"""Writes ``__init__.pyi``, which tells type checkers and editors what the lazy ``ldie_ext`` holds: ``make format``."""

from __future__ import annotations

import sys
from pathlib import Path

import ldie_ext
from ldie_ext.ops import PUBLIC

PATH = Path(__file__).with_name("__init__.pyi")


def stub() -> str:
    """One re-export for each module and each public name."""
    exports = sorted(f"from {value.__module__} import {name} as {name}" for name, value in PUBLIC.items())
    exports = [*(f"from ldie_ext import {name} as {name}" for name in ldie_ext._MODULES), *exports]
    variables = ("__version__: str", "_MODULES: tuple[str, ...]")
    return "\n".join(["# Written by `python -m ldie_ext._stub`.", *exports, "", *variables, ""])


def main() -> int:
    """Rewrites the file."""
    PATH.write_text(stub())
    return 0


if __name__ == "__main__":
    sys.exit(main())
