# SPDX-License-Identifier: Apache-2.0
"""Windows of pixels, which may reach beyond them."""

from __future__ import annotations

from torch import Tensor


def crop_pixels(pixels: Tensor, top: int, left: int, size: tuple[int, int], fill: int = 0) -> Tensor:
    """The window of ``size`` (H, W) at ``top``, ``left`` of pixels [...,H,W]; what lies outside of them is ``fill``."""
    window = pixels.new_full((*pixels.shape[:-2], *size), fill)
    rows, columns = _overlap(top, size[0], pixels.shape[-2]), _overlap(left, size[1], pixels.shape[-1])
    inside = (..., slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    window[inside] = pixels[..., rows, columns]
    return window


def whole_multiples(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """``size`` brought down to whole multiples, and to at least one."""
    return max(size[0] // multiple, 1) * multiple, max(size[1] // multiple, 1) * multiple


def _overlap(start: int, length: int, limit: int) -> slice:
    """The part of a window that lies in 0..limit; empty slices where there is none."""
    begin = min(max(start, 0), limit)
    return slice(begin, max(begin, min(start + length, limit)))
