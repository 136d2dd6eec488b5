"""Compares result files and fails when an op became slower.

    python benchmarks/compare.py --old old.json --new new.json --tolerance 0.3
    python benchmarks/compare.py --old old-*.json --new new-*.json --tolerance 0.1       # medians of several runs

An op's time is judged relative to the peer (or else the composed form) of its own run, so that files from machines of
different speed compare; a row without either is judged by its seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def medians(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One result out of several runs of the same rows: of every variant the median over the runs that have it."""
    times: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for name, row in result["rows"].items():
            for variant, seconds in row["seconds"].items():
                times.setdefault(name, {}).setdefault(variant, []).append(seconds)
    rows = {
        name: {"seconds": {variant: statistics.median(each) for variant, each in variants.items()}}
        for name, variants in times.items()
    }
    return {"rows": rows}


def relative_time(row: dict[str, Any]) -> float:
    """Ours divided by the peer, by the composed form, or plain seconds."""
    seconds = row["seconds"]
    return seconds["ours"] / seconds.get("peer", seconds.get("composed", 1.0))


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, float | None]:
    """By how much the time of each old row grew; null where it is gone."""
    found: dict[str, float | None] = {}
    for name, before in old["rows"].items():
        after = new["rows"].get(name)
        if "ours" not in before["seconds"]:
            continue
        if after is None or "ours" not in after["seconds"]:
            found[name] = None
            continue
        shared = before["seconds"].keys() & after["seconds"].keys()
        was, now = ({"seconds": {key: row["seconds"][key] for key in shared}} for row in (before, after))
        found[name] = relative_time(now) / relative_time(was)
    return found


def slower(old: dict[str, Any], new: dict[str, Any], tolerance: float) -> list[str]:
    """Rows whose time grew by more than the tolerance, or that are gone."""
    return [name for name, change in changes(old, new).items() if change is None or change > 1 + tolerance]


def lines(old: dict[str, Any], new: dict[str, Any], tolerance: float) -> list[str]:
    """What is printed: a line a row."""
    found = []
    for name, change in changes(old, new).items():
        if change is None:
            found.append(f"MISSING  {name}")
        else:
            found.append(f"{'SLOWER ' if change > 1 + tolerance else 'ok     '}  {change:5.2f}x the time  {name}")
    return found


def main() -> int:
    """Prints the comparison; exit code 1 on a regression."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, nargs="+", required=True, help="result files of report.py")
    parser.add_argument("--new", type=Path, nargs="+", required=True, help="result files of report.py")
    parser.add_argument(
        "--tolerance", type=float, default=0.3, help="allowed growth of the relative time (0.3 = 30 %%)"
    )
    options = parser.parse_args()
    old, new = (medians([json.loads(path.read_text()) for path in paths]) for paths in (options.old, options.new))
    print("\n".join(lines(old, new, options.tolerance)))
    return int(bool(slower(old, new, options.tolerance)))


if __name__ == "__main__":
    sys.exit(main())
