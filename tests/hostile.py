"""Random hostile calls of all public functions: nothing but documented exceptions may come of them.

    PYTHONPATH=tests python -m hostile --minutes 10          the operators
    PYTHONPATH=tests python -m hostile --minutes 10 --coco   ldie_ext.coco.mask

`make hostile` runs both on a build under AddressSanitizer and UndefinedBehaviorSanitizer. A call depends on the seed
and its number alone, so that ``--seed 3 --only 4711`` makes one again; ``--trail FILE`` keeps the number of the call
being made, for crashes. Sizes are small, or so large that no machine has the memory.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ldie_ext

#: Of PyTorch's own errors: looking up the lines of a stack takes it half a minute, once.
os.environ.setdefault("TORCH_DISABLE_ADDR2LINE", "1")

#: Seconds after which a call hangs: it is made from small inputs.
LIMIT = 60


class Calls(Protocol):
    """What is called: a module of this package's ``CALLS``."""

    allowed: tuple[type[BaseException], ...]

    def make(self, rng: random.Random) -> tuple[str, Callable[[], Any]]:
        """One call, as a text that shows it, and what makes it."""


@dataclass
class Report:
    """What a run came to: calls by their outcome, and the first calls that went wrong."""

    outcomes: Counter[str]
    failures: list[str]

    @property
    def calls(self) -> int:
        return self.outcomes.total()


def run(calls: Calls, seed: int, *, seconds: float = 0, count: int = 0, first: int = 0, trail: int = -1) -> Report:
    """Makes `count` calls from number `first` on, or as many as fit into `seconds`."""
    report = Report(Counter(), [])
    end = time.monotonic() + seconds
    number = first
    while number < first + count if count else time.monotonic() < end:
        if trail >= 0:
            os.pwrite(trail, f"--seed {seed} --only {number:<12}\n".encode(), 0)
        text, call = calls.make(random.Random(f"{seed}/{number}"))
        report.outcomes[_outcome(calls, call, f"--seed {seed} --only {number}: {text}", report.failures)] += 1
        number += 1
    return report


def _outcome(calls: Calls, call: Callable[[], Any], text: str, failures: list[str]) -> str:
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except calls.allowed as error:
        if type(error) in calls.allowed:
            return type(error).__name__
        failures.append(f"{text}\n    {type(error).__name__}: {error}")
    except Exception as error:
        failures.append(f"{text}\n    {type(error).__name__}: {error}")
    else:
        return "succeeded"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return "went wrong"


def main() -> None:
    parser = argparse.ArgumentParser(description="Random hostile calls of all public functions.")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one call")
    parser.add_argument("--coco", action="store_true", help="of ldie_ext.coco.mask")
    parser.add_argument("--trail", help="a file for the number of the call being made")
    args = parser.parse_args()
    print(f"calls of {Path(ldie_ext.__file__).parent}", flush=True)
    calls: Calls = importlib.import_module("hostile_coco" if args.coco else "hostile_ops").Hostile()
    if args.only is not None:
        print(calls.make(random.Random(f"{args.seed}/{args.only}"))[0], flush=True)
        report = run(calls, args.seed, count=1, first=args.only)
    else:
        trail = os.open(args.trail, os.O_CREAT | os.O_WRONLY) if args.trail else -1
        report = run(calls, args.seed, seconds=60 * args.minutes, trail=trail)
    print(f"{report.calls} calls: {dict(report.outcomes)}")
    print("\n".join(report.failures[:20]))
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
