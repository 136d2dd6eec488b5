"""How a loss per element becomes the result."""

from __future__ import annotations

from typing import Literal, get_args

__all__: list[str] = []

Reduction = Literal["none", "mean", "sum"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)  # in the order of the native codes
