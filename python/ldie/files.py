# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all, and folders to write them to."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    # a part of the name is enough, as the whole one may be as long as names can be
    temporary = path.parent / f".{path.name[:40]}.{os.getpid()}.tmp"
    try:
        if is_folder(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:  # the data must be on disk before its name is
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise CheckpointError(f"{path}: cannot be written ({reason}); free space or choose another folder") from error
    finally:
        with suppress(OSError, ValueError):
            temporary.unlink()


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
    except (OSError, ValueError) as error:  # a ValueError: characters that no name can have
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ConfigError(f"{folder}: cannot be used as a folder ({reason}); choose another") from error


def is_file(path: Path) -> bool:
    """Whether it is a file; a name that no file can have is none."""
    return os.path.isfile(path)  # noqa: PTH113 (Path's raises an OSError where a name is too long)


def is_same_file(path: Path, other: Path) -> bool:
    """Whether both are there and are one file, whatever their names."""
    return is_file(path) and is_file(other) and path.samefile(other)


def is_folder(path: Path) -> bool:
    """Whether it is a folder; a name that no folder can have is none."""
    return os.path.isdir(path)  # noqa: PTH112 (as above)


_PICKLES = ((b"PK", "a zip archive, as torch.save writes"), (b"\x80", "a pickle"))
_FOREIGN = (
    (b"version https://git-lfs", "a pointer of git-lfs, which git lfs pull replaces by the file"),
    (b"<", "a web page instead of the file it leads to"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"{", "a text file"),
)


def foreign_kind(path: Path, pickles: bool = True) -> str | None:
    """What a file is that was taken for weights and cannot be read, by how it begins; None if that says nothing.

    Args:
        path: The file.
        pickles: Whether what torch.save writes counts as foreign too.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
    except (OSError, ValueError):
        return None
    if not beginning:
        return "empty"
    if beginning[8:9] == b"{":  # safetensors, whose first bytes are a length
        return None
    kinds = (*_FOREIGN, *_PICKLES) if pickles else _FOREIGN
    return next((kind for start, kind in kinds if beginning.lstrip().startswith(start)), None)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    text = str(error).strip()
    if "eights only load failed" in text:  # torch goes on with how to run the code in the file
        return "it holds Python objects besides tensors, and they could run code"
    return text.splitlines()[0] if text else type(error).__name__
