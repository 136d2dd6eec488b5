"""Condenses a pytest-benchmark file of the CPU into a result file and a table; a GPU's figures: gpu/report.py.

    python benchmarks/report.py raw.json --out benchmarks/results            # <processor>-<commit>.json and RESULTS.md

Ratios are medians of one run: a ratio of 10 means that the op took a tenth of the other's time. What a row could take
at least on this machine is told by floor.py.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import floor
import harness

ENVIRONMENT = ("torch", "torchvision", "commit", "libraries", "python_version")
LEAST = ("read_bytes", "written_bytes", "flops", "given_output")


def condense(raw: dict[str, Any]) -> dict[str, Any]:
    """One entry per row: medians in seconds per call for each variant."""
    rows: dict[str, dict[str, Any]] = {}
    for entry in raw["benchmarks"]:
        info = entry["extra_info"]
        row = rows.setdefault(entry["group"], {key: info[key] for key in ("op", "case", "threads")})
        row.setdefault("seconds", {})[info["variant"]] = entry["stats"]["median"]
        row.setdefault("rounds", {})[info["variant"]] = entry["stats"]["rounds"]
        if "peak_memory" in info:
            row.setdefault("peak_memory", {})[info["variant"]] = info["peak_memory"]
        row.update({key: info[key] for key in LEAST if info.get(key) is not None})
    machine = raw["machine_info"]
    environment = {key: machine.get(key) for key in ENVIRONMENT}
    environment["cpu"] = machine.get("cpu", {}).get("brand_raw", "unknown CPU")
    environment["date"] = raw["datetime"][:10]
    return {"environment": environment, "floor": machine.get("floor", {}), "rows": dict(sorted(rows.items()))}


def file_name(environment: dict[str, Any]) -> str:
    """The processor and the commit."""
    return re.sub(r"[^a-z0-9]+", "-", environment["cpu"].lower()).strip("-") + f"-{environment['commit']}.json"


def duration(seconds: float | None) -> str:
    """Microseconds or milliseconds with three digits."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def ratio(row: dict[str, Any], other: str) -> str:
    """How many times faster ours is than the other variant."""
    if other not in row["seconds"]:
        return "-"
    return f"{row['seconds'][other] / row['seconds']['ours']:.2f}x"


def memory(row: dict[str, Any]) -> str:
    """Peak memory of ours, and as a share of the composed form's."""
    peaks = row.get("peak_memory")
    if not peaks:
        return "-"
    text = f"{peaks['ours'] / 2**20:.1f} MiB"
    return f"{text} ({peaks['ours'] / peaks['composed']:.1%} of composed)" if peaks.get("composed") else text


def bandwidth(row: dict[str, Any]) -> str:
    """GB/s, read and written together."""
    moved = row.get("read_bytes", 0) + row.get("written_bytes", 0)
    return f"{moved / row['seconds']['ours'] / 1e9:.3g}" if moved else "-"


def share_of_floor(row: dict[str, Any], rates: dict[str, Any] | None) -> str:
    """The floor as a share of our time, marked where a call's own cost or fresh pages explain a good part of it."""
    least = floor.floor_seconds(row, rates) if rates else None
    if least is None or rates is None:
        return "-"
    text = percent(least / row["seconds"]["ours"])
    if least < rates["call_seconds"]:
        return f"{text}, call"
    if not harness.takes_pages(row):
        return text
    kept = row["seconds"].get("kept")
    return f"{text}, pages" + (f"; kept {duration(kept)}, {percent(least / kept)}" if kept else "")


def percent(share: float) -> str:
    """Two digits, or all of a hundred and more."""
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def rates_table(measured: dict[str, Any]) -> list[str]:
    """The machine's own rates as a Markdown table: GB/s at each working set."""
    sizes = [size for size, _ in next(iter(measured.values()))["read"]]
    names = [f"{size / floor.MIB:.0f} MiB" for size in sizes]
    lines = [f"| threads | rate | {' | '.join(names)} |", "|---|---|" + "---|" * len(sizes)]
    for threads, rates in measured.items():
        for kind in ("read", "fill", "copy"):
            cells = (f"{rate / 1e9:.3g}" for _, rate in rates[kind])
            lines.append(f"| {threads} | {kind}, GB/s | {' | '.join(cells)} |")
    return lines


def calls_text(threads: str, rates: dict[str, Any]) -> str:
    """What the figures that have no working set say, for one number of threads."""
    reach = rates["call_seconds"] * floor.rate_at(rates["copy"], floor.MIB)
    return (
        f"With {threads} thread{'s' if threads != '1' else ''} sgemm reaches {rates['sgemm'] / 1e9:.0f} GFLOP/s. The "
        f"first write to {floor.FRESH_BYTES // floor.MIB} MiB of fresh memory runs at "
        f"{rates['fresh_small_pages'] / 1e9:.2g} GB/s on pages of 4 KiB and at {rates['fresh_huge_pages'] / 1e9:.2g} "
        f"on huge pages, where {floor.rate_at(rates['fill'], floor.FRESH_BYTES) / 1e9:.3g} GB/s are filled if the "
        f"pages are there. A PyTorch call on one element takes {rates['call_seconds'] * 1e6:.2g} us, in which "
        f"{reach / 1e3:.0f} kB could be copied."
    )


def floor_text(measured: dict[str, Any]) -> list[str]:
    """What the column of floors means, with the rates that it comes from."""
    if not measured:
        return []
    return [
        "*% of floor* is the least time that this machine allows, divided by ours: the greater of the bytes that the "
        "op must read and write, each once, at the rates below, and of its arithmetic at the rate of sgemm "
        "(`benchmarks/floor.py`). Rates are the best of several rounds of the same run, taken at the row's moved "
        "bytes as working set. A row marked *call* has a floor below the cost of one call: dispatch, not bytes, "
        f"decides there. A row marked *pages* writes {harness.FRESH // floor.MIB} MiB or more into memory of its own: "
        "where the allocator gives it back after each call, the system's providing of pages is part of the time, which "
        "the floor leaves out; *kept* is the same with `ldie_ext.memory.keep_pages()`. Where work depends on the data "
        "(NMS, culled IoU, bounded searches) the floor has the bytes alone.",
        "",
        " ".join(calls_text(threads, rates) for threads, rates in measured.items()),
        "",
        *rates_table(measured),
        "",
    ]


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown page."""
    environment = result["environment"]
    lines = [
        "# Benchmarks",
        "",
        "Generated by `python benchmarks/report.py`; measured by `make bench`. Medians of one run; ratios are theirs "
        "divided by ours. *Composed* is the best form written in PyTorch operations, *peer* torchvision "
        f"{environment['torchvision']} or, where it has no such op, NumPy.",
        "",
        f"{environment['cpu']}, torch {environment['torch']}, commit {environment['commit']}, "
        f"{environment['date']}, libraries {', '.join(environment['libraries'])}.",
        "",
        *floor_text(result.get("floor", {})),
        "| op | case | device | ours | vs composed | vs peer | GB/s | % of floor | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"].values():
        ours = row["seconds"].get("ours")
        if ours is None:
            continue
        share = share_of_floor(row, result.get("floor", {}).get(str(row["threads"])))
        cells = (
            row["op"], row["case"], f"cpu x{row['threads']}", duration(ours), ratio(row, "composed"),
            ratio(row, "peer"), bandwidth(row), share, memory(row),
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the result file and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, help="what pytest wrote with --benchmark-json")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder to write into")
    options = parser.parse_args()
    result = condense(json.loads(options.raw.read_text()))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / file_name(result["environment"])
    path.write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "RESULTS.md").write_text(table(result))
    print(f"wrote {path} and {options.out / 'RESULTS.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
