"""How a loss per element becomes the result."""

from __future__ import annotations

from typing import Literal

__all__: list[str] = []

Reduction = Literal["none", "mean", "sum"]
_CODES: dict[str, int] = {"none": 0, "mean": 1, "sum": 2}


def reduction_code(reduction: str) -> int:
    """The native code of a reduction, or a ValueError that lists them."""
    if reduction not in _CODES:
        raise ValueError(f"reduction must be one of {list(_CODES)}, got {reduction!r}")
    return _CODES[reduction]
