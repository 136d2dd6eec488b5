"""What keeps the fraction of a Dice loss defined."""

from __future__ import annotations

__all__: list[str] = []


def smooth_pair(smooth: float | tuple[float, float]) -> tuple[float, float]:
    """What is added to the numerator and to the denominator: one number for both, or a pair.

    Raises:
        ValueError: neither a number nor a pair of numbers, or one that is not at least 0.
    """
    pair = smooth if isinstance(smooth, tuple | list) else (smooth, smooth)
    if len(pair) != 2:
        raise ValueError(f"smooth must be a number or a pair (numerator, denominator), got {smooth!r}")
    if not all(value >= 0 for value in pair):
        raise ValueError(f"smooth must be at least 0, got {smooth}")
    return float(pair[0]), float(pair[1])
