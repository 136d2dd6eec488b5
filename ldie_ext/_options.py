"""Options of public functions that are words in Python and numbers in native code."""

from __future__ import annotations


def option_code(name: str, value: str, options: tuple[str, ...]) -> int:
    """The native code of an option: its place among the options that there are.

    Args:
        name: the argument's name, for the message.
        value: what the caller passed.
        options: the words allowed, in the order of their native codes.

    Raises:
        ValueError: the value is none of the options; the message lists them.
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}")
    return options.index(value)
