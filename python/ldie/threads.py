# SPDX-License-Identifier: Apache-2.0
"""How torch's threads behave on a shared machine; without torch, whose OpenMP looks here once, when it is loaded.

By default a thread that is done spins until the last one is, again and again in each of a step's hundreds of parallel
loops. Where other programs want the cores the spinning takes the very time that the last thread waits for: on two cores
with four other programs a step of ``tiny`` took over twenty times as long as it does with threads that sleep.
"""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def share_cores() -> None:
    """Has threads sleep while they wait, and no more of them than a container's quota of cores lets run at once.

    ``OMP_WAIT_POLICY`` and ``OMP_NUM_THREADS`` of the environment win. Has no effect after torch was imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    quota = cpu_quota()
    if quota is not None and quota < len(os.sched_getaffinity(0)):  # these are what OpenMP counts by itself
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(quota))))


def cpu_quota(root: Path = _CGROUPS) -> float | None:
    """Cores' worth of time that this process's container may use; None without a limit, or where none can be read.

    Args:
        root: Where the control groups are mounted; in a container, its own group.
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            limit, period = " ".join((root / name).read_text() for name in names).split()
            return float(limit) / float(period) if limit not in ("max", "-1") else None
        except (OSError, ValueError):
            continue
    return None
