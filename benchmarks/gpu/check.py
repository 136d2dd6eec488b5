"""Everything that needs a GPU, in one command and one stay: `make gpu-check LIMIT=540 RESULTS=folder`.

For a machine with a GPU and no network: it uses the Python that runs it, which has torch 2.11 or newer, and the package
of `make gpu-package` if that fits; else it builds. Steps: the machine; the package; CUDA tests, a process a file;
benchmarks, alone on the GPU; launches of each op; memcheck on a case of each test function; racecheck on those marked
`sanitize`; a table. The time limit is one for all: what a step leaves goes to the next. Every result is in the folder
the moment it ends, so that a killed run leaves what it had.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpu import package, report
from gpu.steps import AGAIN, Clock, run_group
from machine import ROOT, describe

SHARES = {"package": 4, "tests": 36, "benchmarks": 25, "launches": 8, "memcheck": 16, "racecheck": 11}
BUILD_SHARE = 80  # of the package step where it has to build
FILES_AT_ONCE = 10
SANITIZERS_AT_ONCE = 14
MOST_TRIES = 12  # of one command, each after something that ended its process
LAST_ROW = 5  # seconds that a row of the benchmarks may take
PROBE = """
import torch, ldie_ext.ops
from ldie_ext import _library, _register, info
info.main()
missing = [s.name for s in _library.load() if not s.loaded]
missing += [n for n in _register.registrations
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"ldie_ext::{n}", "CUDA")]
raise SystemExit(f"not there: {missing}" if missing else 0)
"""


@dataclass
class Check:
    """The steps, and what they share."""

    results: Path
    clock: Clock
    wheels: Path | None
    rehearsal: bool
    unfinished: list[str] = field(default_factory=list)  # commands of this step that its limit ended

    @property
    def environment(self) -> dict[str, str]:
        site = self.results / "site"
        path = [str(site), str(package.SITE), str(ROOT / "benchmarks")]
        backend = "cpu" if self.rehearsal else "cuda"
        threads = {"OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **package.BUILD, **threads, "PYTHONPATH": ":".join(path), "LDIE_BACKENDS": backend}

    @contextmanager
    def step(self, name: str) -> Iterator[float]:
        """Gives the time at which the step must have ended; then its line is written."""
        begin = self.clock.elapsed()
        limit = self.clock.begin(name)
        print(f"== {name} ({begin:.0f} s, limit {limit:.0f} s)", flush=True)
        self.unfinished.clear()
        yield begin + limit
        line = {"step": name, "seconds": round(self.clock.elapsed() - begin, 1), "unfinished": sorted(self.unfinished)}
        with (self.results / "steps.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def run(self, name: str, command: Sequence[object], limit: float, **environment: str) -> int:
        """One command, its output in the log of that name."""
        log = self.results / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        return run_group(command, limit, log, self.environment | environment, ROOT)

    def install(self) -> bool:
        """Takes the package that was brought along, or builds one; True when it loads with every op on CUDA."""
        reason = package.misfit()
        if reason:
            self.clock.shares["package"] = BUILD_SHARE
        with self.step("package") as end:
            if self.wheels:
                pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--upgrade")
                wheels = sorted(self.wheels.glob("*.whl"))
                self.run("package", (*pip, "--target", self.results / "site", *wheels), end - self.clock.elapsed())
            if reason:
                print(f"{reason}: building", flush=True)
                shutil.rmtree(package.PACKAGE, ignore_errors=True)
                self.run("package", package.install_command(package.SITE), end - self.clock.elapsed())
            status = self.run("package", (sys.executable, "-P", "-c", PROBE), 60)
        if status:
            print((self.results / "logs" / "package.log").read_text()[-3000:], flush=True)
        return status == 0

    def test_files(self) -> list[Path]:
        """Files with tests that run on CUDA, the longest first."""
        files = [path for path in (ROOT / "tests").rglob("test_*.py") if "backend: Backend" in path.read_text()]
        return sorted(files, key=lambda path: -path.stat().st_size)

    def run_until(
        self, end: float, name: str, command: Callable[[float], Sequence[object]], **environment: str
    ) -> None:
        """The command for the time that is left, again as long as something ends its process before that."""
        for _ in range(MOST_TRIES):
            left = end - self.clock.elapsed()
            if left <= 0:
                break
            status = self.run(name, command(left), left, **environment)
            if status != AGAIN and status >= 0:
                return
        self.unfinished.append(name)

    def pytest_until(self, end: float, step: str, part: str, arguments: Sequence[object], prefix: Sequence[str] = (),
                     **environment: str) -> None:  # fmt: skip
        """Tests, of which each has a line in the results as it ends."""
        command = (*prefix, sys.executable, "-P", "-m", "pytest", "-p", "gpu.resumable", "-vv", *arguments)
        results = {"LDIE_RESULTS": str(self.results / "tests.jsonl"), "LDIE_STEP": step}
        self.run_until(end, f"{step}-{part}", lambda _: command, **results, **environment)

    def tests(self) -> None:
        """A process a file, so that a broken one keeps no other from running."""
        with self.step("tests") as end, ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            for path in self.test_files():
                pool.submit(self.pytest_until, end, "tests", path.stem, [path])

    def benchmarks(self, step: str, *options: str) -> None:
        """Rows of all benchmarks; after a broken one a new process goes on with the next."""
        rows = self.results / f"{step}.jsonl"
        command = (sys.executable, "-P", "-m", "pytest", "-c", "benchmarks/pytest.ini", "--rootdir=benchmarks",
                   "benchmarks", "-q", "-k", "cuda", f"--gpu-rows={rows}", *options,
                   *(["--gpu-rehearsal"] if self.rehearsal else []))  # fmt: skip
        with self.step(step) as end:
            self.run_until(end, step, lambda left: (*command, f"--gpu-seconds={left - LAST_ROW:.0f}"))

    def sanitizer(self, tool: str, *options: str) -> None:
        """One of compute-sanitizer's tools on a case of each test function, without the caching allocator."""
        found = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
        prefix = [found, "--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no"]
        if not Path(found).exists():
            print(f"no {found}" + (": its tests run without it" if self.rehearsal else ""), flush=True)
            if not self.rehearsal:
                return
            prefix = []
        extra = {
            "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
            "LDIE_FIRST_CASES": "1",
            "LDIE_SANITIZER": tool,
            "LDIE_TEST_SECONDS": "120",
        }
        files = self.test_files()
        groups = [files[i::SANITIZERS_AT_ONCE] for i in range(SANITIZERS_AT_ONCE)]
        with self.step(tool) as end, ThreadPoolExecutor(SANITIZERS_AT_ONCE) as pool:
            for number, group in enumerate(groups):
                arguments = ["-k", "not compile", *options, *group]
                pool.submit(self.pytest_until, end, tool, f"{number:02}", arguments, prefix, **extra)

    def run_steps(self) -> None:
        """The package, then the steps that the clock has a share for."""
        steps: dict[str, Callable[[], None]] = {
            "tests": self.tests,
            "benchmarks": lambda: self.benchmarks("benchmarks"),
            "launches": lambda: self.benchmarks("launches", "--gpu-launches"),
            "memcheck": lambda: self.sanitizer("memcheck"),
            "racecheck": lambda: self.sanitizer("racecheck", "-m", "sanitize"),
        }
        installed = self.install()
        (self.results / "machine.json").write_text(json.dumps(describe(), indent=1) + "\n")
        for name, step in steps.items():
            if installed and name in self.clock.shares:
                step()


def main() -> int:
    """Runs all steps; exit code 1 when the results name a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=540, help="seconds for everything")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "gpu-check", help="folder to write into")
    parser.add_argument("--steps", nargs="+", choices=list(SHARES)[1:], default=list(SHARES)[1:], help="only these")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this Python lacks")
    parser.add_argument("--rehearse", action="store_true", help="the same steps without a GPU, ops on the CPU")
    options = parser.parse_args()
    results = options.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    shares = {name: share for name, share in SHARES.items() if name in ("package", *options.steps)}
    check = Check(results, Clock(options.limit, shares), options.wheels, options.rehearse)
    check.run_steps()
    print(f"== results ({check.clock.elapsed():.0f} s)", flush=True)
    text, failed = report.summary(results)
    (results / "summary.txt").write_text(text)
    print(text, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
