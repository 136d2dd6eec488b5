"""Whether a tree became slower than another, by short runs of one and the other in turn.

    python benchmarks/alternate.py ../before . --rounds 3 -k nms --out build/alternate --tolerance 0.1

The benchmarks are those of this file's tree, for both packages; libraries must be built in both trees. Each round runs
our variant alone of all rows in a process for the old tree and in one for the new, and writes a result file of each.
Medians over the rounds are compared, and rows above the tolerance run again alone, in turn and for longer: only what
is slower there too is a regression. OMP_WAIT_POLICY=passive keeps waiting threads from each other's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compare
import report

BENCHMARKS = Path(__file__).resolve().parent
SHORT, LONG = 0.3, 2.0  # seconds a row may take, among all and alone
NOTHING_COLLECTED = 5  # pytest's exit code

Result = dict[str, Any]


@dataclass
class Alternation:
    """Runs of an old and a new tree in turn."""

    trees: dict[str, Path]
    out: Path
    rounds: int
    tests: dict[str, str] = field(default_factory=dict)
    """The test of every row that ran, by the row's name."""

    def environment(self, tree: Path, seconds: float) -> dict[str, str]:
        """What makes a process take the package of a tree."""
        path = os.pathsep.join(map(str, (tree, tree / "python")))
        return {"OMP_WAIT_POLICY": "passive", **os.environ, "PYTHONPATH": path, "LDIE_BENCH_SECONDS": str(seconds)}

    def check_package(self, tree: Path) -> None:
        """Fails unless the tree's own package is what its runs would load."""
        command = [sys.executable, "-c", "import ldie_ext; print(ldie_ext.__file__)"]
        environment = self.environment(tree, SHORT)
        done = subprocess.run(command, cwd=BENCHMARKS, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        if not Path(done.stdout.strip()).is_relative_to(tree):
            raise RuntimeError(f"{tree} has no ldie_ext of its own: {done.stdout.strip()} is loaded")

    def run(self, name: str, raw: Path, select: Sequence[str], seconds: float) -> Result:
        """One process: the chosen rows of a tree, as report.py condenses them."""
        command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--rootdir=.", "-o", "pythonpath=.", "-q",
                   "--no-floor", "--continue-on-collection-errors", "--benchmark-quiet", f"--benchmark-json={raw}",
                   *select]  # fmt: skip
        environment = self.environment(self.trees[name], seconds)
        done = subprocess.run(command, cwd=BENCHMARKS, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode == NOTHING_COLLECTED or not raw.exists():
            raise RuntimeError(f"no rows were measured: {' '.join(command)}")
        if done.returncode:
            print(f"some rows of {name} failed, see {' '.join(command)}", file=sys.stderr)
        measured = json.loads(raw.read_text())
        self.tests.update({entry["group"]: entry["fullname"] for entry in measured["benchmarks"]})
        result = report.condense(measured)
        raw.write_text(json.dumps(result, indent=1) + "\n")
        return result

    def medians(self, label: str, select: Sequence[str], seconds: float) -> tuple[Result, Result]:
        """The chosen rows of the old and of the new tree, medians over the rounds."""
        results: dict[str, list[Result]] = {"old": [], "new": []}
        for turn in range(self.rounds):
            for name in results:
                path = self.out / f"{label}-{name}-{turn}.json"
                print(f"{label}: round {turn + 1} of {self.rounds}, {name}", file=sys.stderr, flush=True)
                path.unlink(missing_ok=True)
                results[name].append(self.run(name, path, select, seconds))
        return compare.medians(results["old"]), compare.medians(results["new"])

    def regressions(self, select: Sequence[str], tolerance: float) -> list[str]:
        """Rows that are slower among all and again alone; prints every comparison."""
        old, new = self.medians("all", select, SHORT)
        print("\n".join(compare.lines(old, new, tolerance)), flush=True)
        confirmed = []
        for number, name in enumerate(compare.slower(old, new, tolerance)):
            if name not in new["rows"]:
                confirmed.append(name)
                continue
            pair = self.medians(f"again{number}", [self.tests[name]], LONG)
            print("again:", *compare.lines(*pair, tolerance), flush=True)
            confirmed += compare.slower(*pair, tolerance)
        return confirmed


def main() -> int:
    """Exit code 1 when a row is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="tree of the package before")
    parser.add_argument("new", type=Path, help="tree of the package after")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, choices=(1, 2), help="only rows of so many threads")
    parser.add_argument("-k", dest="expression", help="only rows whose test pytest selects by this expression")
    parser.add_argument("--tolerance", type=float, default=0.1, help="allowed growth of the time (0.1 = 10 %%)")
    parser.add_argument("--out", type=Path, default=Path("build/alternate"), help="folder for the result files")
    options = parser.parse_args()
    trees = {"old": options.old.resolve(), "new": options.new.resolve()}
    options.out.mkdir(parents=True, exist_ok=True)
    alternation = Alternation(trees, options.out.resolve(), options.rounds)
    for tree in trees.values():
        alternation.check_package(tree)
    variant = f"cpu-{options.threads}-ours" if options.threads else "(cpu-1-ours or cpu-2-ours)"
    expression = f"{variant} and ({options.expression})" if options.expression else variant
    regressions = alternation.regressions(["-k", expression], options.tolerance)
    print("\n".join(f"REGRESSION {name}" for name in regressions) or "no regressions")
    return int(bool(regressions))


if __name__ == "__main__":
    sys.exit(main())
