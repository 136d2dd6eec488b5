"""What a GPU check found: the failures and the table, and the result file with its page.

    PYTHONPATH=benchmarks python -m gpu.report build/gpu-check --out benchmarks/results

writes gpu-<device>-<commit>.json and GPU.md. Works on whatever a run left, finished or not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

STEPS = ("tests", "memcheck", "racecheck")
BAD = ("failed", "sticky", "hung", "crashed", "started")
MOST_SHOWN = 60  # failures
ERROR = re.compile(r"^========= (?!COMPUTE-SANITIZER|ERROR SUMMARY|RACECHECK SUMMARY|    |\s*$)(.+)$")
CLEAN = re.compile(r"SUMMARY: 0 ")

Row = dict[str, Any]


def lines(path: Path) -> list[Row]:
    """Rows of a file, without one that was cut off."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def test_outcomes(results: Path, step: str) -> dict[str, Row]:
    """The line that counts of each test: an error that came after it passed is one."""
    found: dict[str, Row] = {}
    for row in lines(results / "tests.jsonl"):
        earlier = found.get(row["id"])
        if row["step"] == step and not (earlier and earlier["outcome"] in BAD[:-1]):
            found[row["id"]] = row
    return found


def sanitizer_errors(results: Path, tool: str) -> Counter[str]:
    """What a tool of compute-sanitizer complained of, each kind with the test that it came in."""
    found: Counter[str] = Counter()
    for path in sorted((results / "logs").glob(f"{tool}-*.log")):
        test = "?"
        for line in path.read_text(errors="replace").splitlines():
            if "::" in line and "=====" not in line:
                test = line.split("::", 1)[1].split()[0]
            error = ERROR.match(line)
            if error and not CLEAN.search(line):
                found[f"{error[1][:160]} | {test}"] += 1
    return found


def checked(results: Path, step: str) -> tuple[Counter[str], list[Row], Counter[str]]:
    """Of a step: tests by outcome, the lines of those that went wrong, and what the sanitizer complained of."""
    outcomes = test_outcomes(results, step).values()
    complaints = sanitizer_errors(results, step) if step != "tests" else Counter()
    return Counter(row["outcome"] for row in outcomes), [row for row in outcomes if row["outcome"] in BAD], complaints


def merged_rows(results: Path) -> tuple[list[Row], float | None]:
    """The benchmark's rows with the launches of the other run, and the copy's bytes a second."""
    counted = {(row["op"], row["case"]): row for row in lines(results / "launches.jsonl") if "op" in row}
    rows, bandwidth = [], None
    for row in lines(results / "benchmarks.jsonl"):
        if "op" not in row:
            bandwidth = row["copy_bandwidth"]
            continue
        launches = counted.get((row["op"], row["case"]), {})
        rows.append(row | {key: launches[key] for key in ("launches", "gpu_seconds", "kernels") if key in launches})
    return sorted(rows, key=lambda row: (row["op"], row["case"])), bandwidth


def seconds(row: Row, variant: str, *names: str) -> float | None:
    """The first of the named figures that the variant has."""
    figures = row.get(variant) or {}
    return next((figures[name] for name in names if name in figures), None)


def ratio(row: Row, other: str) -> str:
    """GPU time of the other form divided by ours; of what cannot be queued, wall time."""
    names = ("hot",) if seconds(row, "ours", "hot") and seconds(row, other, "hot") else ("wall", "once")
    ours, theirs = seconds(row, "ours", *names), seconds(row, other, *names)
    if not ours or not theirs:
        return "-"
    return f"{theirs / ours:.2f}" + ("" if names == ("hot",) else " w")


def microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e6:.4g}"


def cells(row: Row, bandwidth: float | None) -> list[str]:
    """op, case, wall, hot, cold, GPU time of all kernels, launches, GB/s, % of the copy, ratios."""
    cold, moved = seconds(row, "ours", "cold"), row.get("read_bytes", 0) + row.get("written_bytes", 0)
    rate = moved / cold if moved and cold else None
    return [
        row["op"],
        row["case"],
        *(microseconds(seconds(row, "ours", name)) for name in ("wall", "hot", "cold")),
        microseconds(row.get("gpu_seconds")),
        str(row.get("launches", "-")),
        f"{rate / 1e9:.0f}" if rate else "-",
        f"{rate / bandwidth:.0%}" if rate and bandwidth else "-",
        ratio(row, "composed"),
        ratio(row, "peer"),
    ]


HEAD = ("op", "case", "wall us", "hot us", "cold us", "kernels us", "launches", "GB/s", "of copy", "/composed", "/peer")


def text_table(rows: list[Row], bandwidth: float | None) -> str:
    """For a terminal."""
    body = [HEAD, *(cells(row, bandwidth) for row in rows)]
    widths = [max(len(line[i]) for line in body) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in body)


def row_errors(rows: list[Row]) -> list[str]:
    names = ("ours", "composed", "peer")
    return [f"{row['op']} | {row['case']} | {name}: {row[name]['error']}" for row in rows for name in names
            if "error" in (row.get(name) or {})]  # fmt: skip


def summary(results: Path) -> tuple[str, bool]:
    """The table, then all that failed; and whether anything did."""
    rows, bandwidth = merged_rows(results)
    parts = [text_table(rows, bandwidth)]
    if bandwidth:
        parts.append(f"copy: {bandwidth / 1e9:.0f} GB/s read and written")
    errors = row_errors(rows)
    parts += [f"row error: {error}" for error in errors]
    failed = any("| ours:" in error for error in errors)
    steps = lines(results / "steps.jsonl")
    ran = {step["step"] for step in steps}
    for step in steps:
        late = f", its limit ended {', '.join(step['unfinished'])}" if step["unfinished"] else ""
        parts.append(f"{step['step']}: {step['seconds']} s{late}")
        failed |= bool(late)
    for step in STEPS:
        count, bad, complaints = checked(results, step)
        parts.append(f"{step}: {', '.join(f'{n} {outcome}' for outcome, n in count.most_common()) or 'nothing ran'}")
        for row in bad[:MOST_SHOWN]:
            last = (row.get("text", "").strip().splitlines() or [""])[-1]
            parts.append(f"  {row['outcome']} {row['id']}: {last[:160]}")
        parts += [f"  {count} x {complaint}" for complaint, count in complaints.most_common(MOST_SHOWN)]
        failed |= bool(bad) or bool(complaints) or (step in ran and not count)
    return "\n".join(parts) + "\n", failed


def result(results: Path) -> dict[str, Any]:
    """All that is kept of a run."""
    rows, bandwidth = merged_rows(results)
    checks = {}
    for step in STEPS:
        count, bad, complaints = checked(results, step)
        checks[step] = {
            "count": dict(count),
            "bad": {row["id"]: row["outcome"] for row in bad},
            "complaints": dict(complaints),
        }
    machine = json.loads((results / "machine.json").read_text())
    return {"environment": machine, "copy_bandwidth": bandwidth, "steps": lines(results / "steps.jsonl"),
            "checks": checks, "rows": rows}  # fmt: skip


def page(kept: dict[str, Any]) -> str:
    """The result as a Markdown page."""
    machine, bandwidth = kept["environment"], kept["copy_bandwidth"]
    counts = [f"{step}: {', '.join(f'{n} {o}' for o, n in check['count'].items()) or 'not run'}"
              for step, check in kept["checks"].items()]  # fmt: skip
    head = [
        "# GPU benchmarks",
        "",
        "Generated by `python -m gpu.report`; measured by `make gpu-check`. Microseconds, medians of one "
        "run: *wall* of a call, *hot* and *cold* GPU time by events behind a sleeping kernel (cold: L2 flushed before "
        "each call), *kernels* the sum over a call's kernels by the profiler. GB/s is what must move at least over the "
        "cold time, *of copy* its share of a plain copy's. Ratios are GPU times of the other form divided by ours, "
        "marked w where one of them waits for the device and wall times are compared. *Composed* is the best form "
        f"written in PyTorch operations, *peer* torchvision {machine['torchvision']}.",
        "",
        f"{machine['gpu']}, torch {machine['torch']}, {machine['nvcc']}, driver and clocks: {machine['nvidia_smi']}; "
        f"commit {machine['commit']}, {machine['date']}; copy {(bandwidth or 0) / 1e9:.0f} GB/s. {'; '.join(counts)}.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
    ]
    return "\n".join([*head, *("| " + " | ".join(cells(row, bandwidth)) + " |" for row in kept["rows"])]) + "\n"


def main() -> int:
    """Prints the summary; with --out also writes the result file and GPU.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder that a GPU check wrote")
    parser.add_argument("--out", type=Path, help="folder for the result file and the page")
    options = parser.parse_args()
    text, failed = summary(options.results)
    print(text)
    if options.out:
        kept = result(options.results)
        name = re.sub(r"[^a-z0-9]+", "-", str(kept["environment"]["gpu"]).lower()).strip("-")
        path = options.out / f"gpu-{name}-{kept['environment']['commit']}.json"
        path.write_text(json.dumps(kept, indent=None, separators=(",", ":")).replace('{"op"', '\n{"op"') + "\n")
        (options.out / "GPU.md").write_text(page(kept))
        print(f"wrote {path} and {options.out / 'GPU.md'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
