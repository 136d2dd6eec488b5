# SPDX-License-Identifier: Apache-2.0
"""Editing: pictures with requests, steps that answer them, recipes for photographs."""

from ldie.tasks.editing.task import EditingTask

TASK = EditingTask()

__all__ = ["TASK", "EditingTask"]
