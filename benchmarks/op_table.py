"""Writes the README's table of ops from the docstrings and the newest CPU result file.

python benchmarks/op_table.py benchmarks/results/<device>-<commit>.json
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

from ldie_ext.ops import PUBLIC

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- ops: begin, written by benchmarks/op_table.py -->", "<!-- ops: end -->"


def rows_of(function: FunctionType, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A benchmark file has the stem of a module; where that has several functions, cases begin with their names."""
    name, stem = function.__name__, function.__module__.rpartition(".")[2]
    of_stem = [row for row in rows if row["op"] == stem and row["threads"] == 2]
    named = [row for row in of_stem if re.match(rf"{name}\b|{name.split('_')[0]}\b", row["case"])]
    return named or (of_stem if name == stem else [])


def speed(rows: list[dict[str, Any]]) -> str:
    """The range of ratios over an op's rows: to the peer where there is one, else to the composed form."""
    for other in ("peer", "composed"):
        ratios = sorted(
            row["seconds"][other] / row["seconds"]["ours"] for row in rows if {"ours", other} <= row["seconds"].keys()
        )
        if ratios:
            spread = f"{ratios[0]:.3g}x" if len(ratios) == 1 else f"{ratios[0]:.3g}x to {ratios[-1]:.3g}x"
            return f"{spread} {other}"
    return "-"


def table(rows: list[dict[str, Any]]) -> str:
    """One line per public function, by family."""
    lines = ["| op | what it does | gradients | CPU speed, 2 threads |", "|---|---|---|---|"]
    functions = [value for value in PUBLIC.values() if inspect.isfunction(value)]
    for function in sorted(functions, key=lambda function: (function.__module__, function.__name__)):
        documentation = inspect.getdoc(function) or ""
        gradient = re.search(r"Differentiable: (\w[^.;:(]*)", documentation)
        name = function.__name__
        summary = re.sub(
            r":func:`(?:ldie_ext\.)?(\w+)`|``([\w.]+)``", r"`\1\2`", documentation.splitlines()[0].rstrip(".")
        )
        cells = (f"`{name}`", summary, gradient[1].strip() if gradient else "-", speed(rows_of(function, rows)))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Replaces the text between the markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    result = json.loads(parser.parse_args().result.read_text())
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{table(list(result['rows'].values()))}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
