"""Compares two result files and fails when an op became slower.

    python benchmarks/compare.py benchmarks/results/old.json benchmarks/results/new.json --tolerance 0.3

An op's time is judged relative to the peer (or else the composed form) of its own run, so that files from machines of
different speed compare; a row without either is judged by its seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def relative_time(row: dict[str, Any]) -> float:
    """Ours divided by the peer, by the composed form, or plain seconds."""
    seconds = row["seconds"]
    return seconds["ours"] / seconds.get("peer", seconds.get("composed", 1.0))


def compare(old: dict[str, Any], new: dict[str, Any], tolerance: float) -> tuple[list[str], bool]:
    """Lines to print, and whether a row got slower by more than the tolerance."""
    lines, failed = [], False
    for name, before in old["rows"].items():
        after = new["rows"].get(name)
        if "ours" not in before["seconds"]:
            continue
        if after is None or "ours" not in after["seconds"]:
            lines.append(f"MISSING  {name}")
            failed = True
            continue
        shared = before["seconds"].keys() & after["seconds"].keys()
        rows = [{"seconds": {key: row["seconds"][key] for key in shared}} for row in (before, after)]
        change = relative_time(rows[1]) / relative_time(rows[0])
        slower = change > 1 + tolerance
        failed |= slower
        lines.append(f"{'SLOWER ' if slower else 'ok     '}  {change:5.2f}x the time  {name}")
    return lines, failed


def main() -> int:
    """Prints the comparison; exit code 1 on a regression."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--tolerance", type=float, default=0.3, help="allowed growth of the relative time (0.3 = 30 %%)"
    )
    options = parser.parse_args()
    lines, failed = compare(json.loads(options.old.read_text()), json.loads(options.new.read_text()), options.tolerance)
    print("\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
