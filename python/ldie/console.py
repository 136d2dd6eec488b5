# SPDX-License-Identifier: Apache-2.0
"""The command line's streams: usable whatever they lead to, and messages that stay one line each."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ldie.errors import UserError

INTERRUPTED, UNREAD = 130, 141
"""Exit codes: what shells report of a program that SIGINT or SIGPIPE ended."""
_WORD, _LINE = 240, 2000
"""Characters of one word, say a file name, and of a message that are shown whole."""


def prepare_streams() -> None:
    """Opens streams that the caller has closed, and escapes what the terminal has no characters for.

    A file that is opened while stdout or stderr is closed would take its number, and what native code prints would go
    into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere())
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def stdout_written() -> Iterator[None]:
    """Writes all that is printed inside before it ends: at the end of the process an error would have no reader.

    Raises:
        BrokenPipeError: The reader of stdout has gone.
        SystemExit: It cannot be written for another reason, which is said.
    """
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            give_up_stdout()
            say(f"stdout cannot be written ({error.strerror}); free space or print elsewhere")
            raise SystemExit(1) from None


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Ctrl-C inside ends the process at once: in the middle of an import, torch and NumPy may lose it or break.

    There is nothing to save yet.
    """
    ours = threading.current_thread() is threading.main_thread() and "torch" not in sys.modules
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def give_up_stdout() -> None:
    """Sends what is still to be printed nowhere: its reader has gone, or its disk is full."""
    sys.stdout = _nowhere()


def say(message: str) -> None:
    """Prints a message to stderr as one line; of the ranks on one machine, the first one with that message does."""
    line = f"ldie: {printable(message)}"
    if _is_first(line):
        with contextlib.suppress(OSError):  # nobody is left to be told
            print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A text on one line of bounded length, with escapes for what a terminal would not show or would obey."""
    text = escaped(" ".join(text.split()))
    return _shortened(re.sub(rf"\S{{{_WORD + 1},}}", lambda word: _shortened(word[0], _WORD), text), _LINE)


def escaped(text: str) -> str:
    """A text with escapes for line breaks, control characters and halves of characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(error: Exception) -> str | None:
    """The message of an error that the user can do something about; None for any other."""
    text = str(error)
    if text.startswith("Caught "):  # in a data-loading process, whose traceback torch puts into the text
        text = text.strip().splitlines()[-1].partition(": ")[2]
    if isinstance(error, UserError):
        return text
    if type(error).__name__ == "OutOfMemoryError":  # torch's; asking torch would import it
        return "the GPU is out of memory; lower solver.batch_size or the image size, or use --device cpu"
    if isinstance(error, MemoryError) or re.search("DefaultCPUAllocator|^[a-z_]+: not enough memory", text):
        return f"out of memory ({_reason(text, 'not enough to go on')}); lower the batch size or the image size"
    if isinstance(error, RuntimeError) and re.search("[Cc]onnection (closed|reset)|ncclRemoteError", text):
        return "another process of this run has ended, so this one stops; see the message of that one"
    if isinstance(error, ImportError):
        return f"{text}; python -m ldie_ext.info tells more"
    if isinstance(error, OSError):
        reason = error.strerror or _reason(text, type(error).__name__)
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{reason}; {_ADVICE.get(error.errno or 0, 'check the path, its permissions and the space left')}"
    return None


_ADVICE = {
    errno.ENOSPC: "free space or choose another folder",
    errno.EDQUOT: "free space or choose another folder",
    errno.EMFILE: "raise the limit (ulimit -n) or lower solver.num_workers",
    errno.ENAMETOOLONG: "use a shorter name",
}


def _reason(text: str, otherwise: str) -> str:
    return next(iter(text.strip().splitlines()), otherwise)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 4 :]}"


def _nowhere() -> io.TextIOWrapper:
    return Path(os.devnull).open("w", encoding="utf-8")


def _is_first(line: str) -> bool:
    """Whether no other rank has said it: torchrun gives the ranks of a machine folders side by side."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not error_file:
        return True
    name = f".ldie-{hashlib.sha256(line.encode()).hexdigest()[:16]}"
    try:
        (Path(error_file).parents[1] / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    except (OSError, IndexError):
        pass
    return True
