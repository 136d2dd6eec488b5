# SPDX-License-Identifier: Apache-2.0
"""The ``ldie`` command: train, eval, predict, show, convert, import, export, benchmark, info; edits of photographs.

Exit codes: 0 done, 1 bad input (one line on stderr), 2 bad usage, 130 stopped by Ctrl-C (a checkpoint is written), 141
nobody reads stdout any more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import ldie
from ldie import console
from ldie.cli.arguments import command
from ldie.cli.editing import add_editing_commands
from ldie.cli.systems import add_system_commands
from ldie.threads import share_cores


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    console.prepare_streams()
    try:
        with console.stdout_written():
            return _run(arguments)
    except BrokenPipeError:
        console.give_up_stdout()
        return console.UNREAD
    except KeyboardInterrupt:
        return console.INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    share_cores()
    try:
        with console.imports():
            from ldie import commands  # imports torch: not before the usage is known to be right

        return commands.COMMANDS[options.command](options)
    except BrokenPipeError:
        raise
    except Exception as error:
        message = console.one_line(error)
        if options.debug or message is None:
            raise
        console.say(message)
        return 1


class _Parser(argparse.ArgumentParser):
    """Keeps its errors to one line, whatever the arguments hold."""

    def error(self, message: str) -> NoReturn:
        super().error(console.printable(message))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="ldie",
        description="Trains, evaluates and runs detection, segmentation and image-editing systems on ldie_ext.",
        epilog="exit codes: 0 done, 1 bad input, 2 bad usage, 130 stopped by Ctrl-C, 141 nobody reads stdout",
    )
    parser.add_argument("--version", action="version", version=f"ldie {ldie.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    add_system_commands(commands)
    add_editing_commands(commands)
    info = command(commands, "info", "print versions, devices, loaded native libraries and operators")
    info.epilog = "example:\n  ldie info"
    return parser
