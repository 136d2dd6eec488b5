# SPDX-License-Identifier: Apache-2.0
"""A reader of .cube files that owes nothing to their writer, for Pillow's filter."""

from __future__ import annotations

from PIL import ImageFilter


def read_cube(text: str) -> ImageFilter.Color3DLUT:
    size, rows = 0, []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "LUT_3D_SIZE":
            size = int(words[1])
        elif words and words[0] not in ("TITLE", "DOMAIN_MIN", "DOMAIN_MAX") and not line.startswith("#"):
            rows.append(tuple(map(float, words)))
    assert len(rows) == size**3
    return ImageFilter.Color3DLUT(size, rows)
