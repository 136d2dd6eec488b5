# SPDX-License-Identifier: Apache-2.0
"""Random numbers that are the same in every version of NumPy and on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Draws:
    """Draws from PCG64's own stream of bits.

    NumPy keeps that stream and the seeding, not what its Generator makes of them. Here a number is a product and a sum
    of float64, which round alike everywhere; functions such as exp and sin do not, and whoever needs one rounds.

    Args:
        keys: whole numbers from 0 to 2^64 - 1; different ones, or another number of them, have independent streams.
    """

    def __init__(self, *keys: int) -> None:
        words = [word for key in keys for word in divmod(key, 2**32)]
        self._bits = np.random.PCG64(np.random.SeedSequence([len(keys), *words]))  # to NumPy, (1,) and (1, 0) are one

    def uniform(self, low: float, high: float, *shape: int) -> NDArray[np.float64]:
        """Numbers in [low, high), an array of ``shape``."""
        count = int(np.prod(shape, dtype=np.int64))
        unit = (self._bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return (low + (high - low) * unit).reshape(shape)

    def number(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count`` - 1."""
        return int(self.number(0, count))

    def pick(self, items: Sequence[T]) -> T:
        """One of some."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different ones of some, in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]
