"""Pytest plugin (``-p gpu.resumable``): a line of JSON a test as it ends, and a run that goes on where one stopped.

A CUDA error such as an illegal access fails every later call of its process, and a kernel that hangs never returns.
Both end the process with the status ``AGAIN``; the next run on the same results leaves out what has a line already,
the guilty test included.

Environment: LDIE_RESULTS (the file), LDIE_STEP (a name written into each line), LDIE_TEST_SECONDS (a test that takes
longer hangs), LDIE_FIRST_CASES=1 (only the first case of each test function).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu.steps import AGAIN

RESULTS = Path(os.environ["LDIE_RESULTS"])
STEP = os.environ.get("LDIE_STEP", "tests")
SECONDS = float(os.environ.get("LDIE_TEST_SECONDS", "60"))
LONGEST_TEXT = 3000  # characters kept of a failure


def write(identity: str, outcome: str, **more: Any) -> None:
    """Appends one line; short lines of several processes do not mix."""
    with RESULTS.open("a") as file:
        file.write(json.dumps({"step": STEP, "id": identity, "outcome": outcome, **more}) + "\n")


def end_process(identity: str, outcome: str, text: str) -> None:
    """Nothing can run on in this process: not even Python's own end."""
    write(identity, outcome, text=text[:LONGEST_TEXT])
    os._exit(AGAIN)


def outcomes() -> dict[str, str]:
    """The last outcome of each test of this step that an earlier run wrote a line for."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["id"]: row["outcome"] for row in rows if row["step"] == STEP}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what was run; a test that began and never ended took its process with it."""
    if os.environ.get("LDIE_FIRST_CASES"):
        first: dict[str, pytest.Item] = {}
        for item in items:
            first.setdefault(item.nodeid.split("[")[0], item)
        items[:] = first.values()
    before = outcomes()
    for item in items:
        if before.get(item.nodeid) == "started":
            write(item.nodeid, "crashed", text="the process ended during this test")
    items[:] = [item for item in items if item.nodeid not in before]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The line of a test, and one more for an error before or after it."""
    if report.when == "call" or report.outcome != "passed":
        text = {"text": str(report.longrepr)[-LONGEST_TEXT:]} if report.failed or report.skipped else {}
        write(report.nodeid, report.outcome, when=report.when, seconds=round(report.duration, 2), **text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Marks the test as started, and watches that it ends."""
    write(item.nodeid, "started")
    hang = f"no end after {SECONDS:.0f} s"
    watch = threading.Timer(SECONDS, end_process, [item.nodeid, "hung", hang])
    watch.daemon = True
    watch.start()
    try:
        return (yield)
    finally:
        watch.cancel()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """An error that stays ends the process, and names the test that made it."""
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except Exception as error:
        end_process(item.nodeid, "sticky", str(error))
