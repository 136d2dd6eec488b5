# SPDX-License-Identifier: Apache-2.0
"""Folders of generated files: made where they are not there yet, and again where they are damaged."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from ldie.errors import DataError
from ldie.files import first_line, scratch_folder

logger = logging.getLogger("ldie")

DIGESTS = "digests.json"


def ensure_folder(folder: Path, names: Iterable[str], write: Callable[[Path], None]) -> None:
    """Makes a folder unless it is there and whole; it appears complete or not at all.

    Args:
        folder: Where it is to be.
        names: Of its files.
        write: Writes them, and then :func:`seal`, into the empty folder that it is given.

    Raises:
        DataError: The folder cannot be written to.
    """
    names = tuple(names)
    if _is_whole(folder, names):
        return
    if folder.exists():
        logger.warning("%s: damaged or not complete; it is made again", folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder) as scratch:
            staged = scratch / "new"
            staged.mkdir()
            write(staged)
            if folder.exists() and not _is_whole(folder, names):  # another process may have made the same meanwhile
                folder.rename(scratch / "old")
            try:
                staged.rename(folder)
            except OSError:
                if not _is_whole(folder, names):
                    raise
    except OSError as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{folder}: cannot be generated ({reason}); free space or choose another folder") from error


def seal(folder: Path, names: Iterable[str]) -> None:
    """Writes down the files' digests, by which damage is noticed."""
    (folder / DIGESTS).write_text(json.dumps(_digests(folder, names)), encoding="utf-8")


def _is_whole(folder: Path, names: Iterable[str]) -> bool:
    """Whether every file is there as it was written."""
    try:
        return bool(json.loads((folder / DIGESTS).read_bytes()) == _digests(folder, names))
    except (OSError, ValueError, RecursionError):
        return False


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
