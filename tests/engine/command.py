# SPDX-License-Identifier: Apache-2.0
"""Runs the command line in this process."""

from ldie.cli import main

FAST = ["--device", "cpu", "--set", "solver.max_iter=4"]


def error_line(capsys, arguments):
    """The one line on stderr of a command that must fail with bad input."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("ldie: "), lines
    assert lines[0].isprintable() and len(lines[0]) < 2100
    return lines[0]
