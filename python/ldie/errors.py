# SPDX-License-Identifier: Apache-2.0
"""Errors that the user can do something about: one line that names what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """What all of them are; the command line prints the message instead of a traceback."""


class ConfigError(UserError, ValueError):
    """A configuration key or value that cannot be used."""


class DataError(UserError, ValueError):
    """A file or folder of a data set that cannot be used."""


class CheckpointError(UserError, ValueError):
    """A file of a run that cannot be read or written."""


class TrainingError(UserError, RuntimeError):
    """Training cannot go on."""


class ExportError(UserError, RuntimeError):
    """A model that does not become a file of another format."""


class UnknownNameError(UserError, ValueError):
    """No such system or task, or not in this version."""


def short(names: Iterable[str], most: int = 3) -> str:
    """The first few of some names, for a message."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "") if listed else "none"
