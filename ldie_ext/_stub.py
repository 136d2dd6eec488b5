"""Writes ``__init__.pyi``, which tells type checkers and editors what the lazy ``ldie_ext`` holds: ``make format``."""

from __future__ import annotations

import sys
from pathlib import Path

from ldie_ext.ops import PUBLIC

PATH = Path(__file__).with_name("__init__.pyi")


def stub() -> str:
    """One re-export for each public name."""
    exports = sorted(f"from {value.__module__} import {name} as {name}" for name, value in PUBLIC.items())
    return "\n".join(["# Written by `python -m ldie_ext._stub`.", *exports, "", "__version__: str", ""])


def main() -> int:
    """Rewrites the file."""
    PATH.write_text(stub())
    return 0


if __name__ == "__main__":
    sys.exit(main())
