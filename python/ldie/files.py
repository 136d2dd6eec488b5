# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, and folders to write them to."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldie.errors import CheckpointError, ConfigError


def write_text(path: Path, text: str) -> None:
    """Writes a text file; it appears whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets ``write`` write a temporary file beside ``path``, which then takes its place.

    Raises:
        CheckpointError: The disk is full, or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:  # the data must be on disk before its name is
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({first_line(error)}); free space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Removes what :func:`write_whole` left in a folder and below when its process was killed."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` to make it in, gone afterwards; those that killed processes left there go first."""
    for left in target.parent.iterdir():
        scratch = re.fullmatch(rf"\.{re.escape(target.name)}-(\d{{1,9}})-\w{{8}}", left.name)
        if scratch and not _is_running(int(scratch[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-{os.getpid()}-", dir=target.parent) as folder:
        yield Path(folder)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def make_folder(folder: Path) -> None:
    """Makes a folder to write to, and those above it.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used as a folder ({error.strerror}); choose another") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
