# SPDX-License-Identifier: Apache-2.0
"""What the commands' parsers share: options that several take, and the types of options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

_MOST, SEEDS, LONGEST = 2**31 - 1, 2**63 - 1, 2**14


def command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    """Adds a command's parser; ``text`` is what the command does, a phrase in lower case."""
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error and more log messages")
    return parser


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds ``CHECKPOINT``."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file, or a run's work folder (its best one)"
    )


def add_data(parser: argparse.ArgumentParser, use: str, required: bool = False) -> None:
    """Adds ``--data``; ``use`` says what for."""
    text = (
        f"data {use}: generated shapes, their hard variant with crowds and tiny objects, "
        "or a folder in COCO layout (train2017/, val2017/, annotations/), which ldie convert makes of others"
    )
    parser.add_argument("--data", metavar="shapes|shapes-hard|DIR", help=text, required=required)


def add_batch_size(parser: argparse.ArgumentParser, default: int = 8) -> None:
    """Adds ``--batch-size``."""
    text = "images that go through the model together (default: %(default)s)"
    parser.add_argument("--batch-size", type=whole(1), default=default, metavar="N", help=text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device``."""
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")


def add_strength(parser: argparse.ArgumentParser) -> None:
    """Adds ``--strength``."""
    text = "how much of the recipe, from 0 to 1 (default: all)"
    parser.add_argument("--strength", type=score, default=1.0, metavar="S", help=text)


def whole(least: int, most: int = _MOST) -> Callable[[str], int]:
    """Type of an option that takes whole numbers in a range."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # no number, or thousands of digits
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text!r}")
        return value

    return whole_number


def score(text: str) -> float:
    """Type of an option that takes a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return value


def box(text: str) -> tuple[int, int, int, int]:
    """Type of an option that takes a box, X1,Y1,X2,Y2."""
    try:
        x1, y1, x2, y2 = map(int, text.split(","))
    except ValueError:  # not four, no numbers, or thousands of digits
        x1, y1, x2, y2 = -1, -1, -1, -1
    if not (0 <= x1 < x2 <= _MOST and 0 <= y1 < y2 <= _MOST):
        raise argparse.ArgumentTypeError(f"must be X1,Y1,X2,Y2, with 0 <= X1 < X2 and 0 <= Y1 < Y2, got {text!r}")
    return x1, y1, x2, y2


def size(text: str) -> tuple[int, int]:
    """Type of an option that takes a height and a width, HxW."""
    height, _, width = text.lower().partition("x")
    try:
        size = (int(height), int(width))
    except ValueError:  # no numbers, or thousands of digits
        size = (0, 0)
    if not all(1 <= length <= LONGEST for length in size):
        raise argparse.ArgumentTypeError(f"must be HxW of 1 to {LONGEST} pixels each, as 480x640, got {text!r}")
    return size
