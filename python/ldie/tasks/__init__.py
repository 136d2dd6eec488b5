# SPDX-License-Identifier: Apache-2.0
"""The tasks by name; the module of one is imported only when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ldie.errors import UnknownNameError

if TYPE_CHECKING:
    from ldie.contract import Task

TASKS = {"detection": "ldie.tasks.detection", "editing": "ldie.tasks.editing"}
"""Modules that have a ``TASK``."""


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in TASKS:
        raise UnknownNameError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    task: Task = importlib.import_module(TASKS[name]).TASK
    return task
