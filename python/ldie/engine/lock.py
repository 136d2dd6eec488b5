# SPDX-License-Identifier: Apache-2.0
"""One run per work folder."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ldie.errors import CheckpointError

NAME = ".lock"


class RunLock:
    """Keeps other runs out of a work folder until it is released, or its process ends in whatever way.

    The system's lock on an open file counts, not that the file exists: a killed run leaves nothing to remove by hand.

    Raises:
        CheckpointError: Another run is in the folder; the message names its process.
    """

    def __init__(self, work_dir: Path) -> None:
        self._path = work_dir / NAME
        try:
            while not self._take():
                pass
        except BlockingIOError:
            owner = self._path.read_text(encoding="ascii").strip() or "unknown"
            raise CheckpointError(
                f"{work_dir}: another run is writing there (process {owner}); wait for it or stop it, "
                "or choose another --work-dir"
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"{self._path}: cannot be written and locked ({error.strerror}); "
                "free space or choose another --work-dir"
            ) from error

    def _take(self) -> bool:
        self._file = self._path.open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise
        # A run that ended meanwhile has removed the file that was opened here: then the lock on it keeps nobody out.
        if not self._path.exists() or not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            self._file.close()
            return False
        try:
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except OSError:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Lets other runs in; harmless when it is done twice."""
        if not self._file.closed:
            self._path.unlink(missing_ok=True)
            with suppress(OSError):  # the number in it, on a full disk
                self._file.close()
