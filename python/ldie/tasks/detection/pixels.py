# SPDX-License-Identifier: Apache-2.0
"""Pillow images to pixels: EXIF orientation, and any mode as RGB of 8 bits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns stored pixels upright, by EXIF orientation."""
_INVERSE = {6: 8, 8: 6}
"""The orientation whose turn undoes another's; the others undo themselves."""
TRANSPOSING = (5, 6, 7, 8)
"""Orientations whose turns exchange height and width."""
_RANGES = (1.0, 255.0, 4095.0, 65535.0)
"""White of floats, and of gray values of 8, 12 and 16 bits."""
_ORIENTATION, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 274, 258, 339  # tags of EXIF data and TIFF files


def turned_upright(image: Image.Image) -> tuple[Image.Image, int]:
    """The image turned by its EXIF orientation, and that orientation, 1 to 8; a damaged one counts as 1."""
    before = orientation_of(image)
    image.load()
    orientation = orientation_of(image)
    if orientation == 1:  # Pillow turns TIFFs itself while it loads them
        return image, before
    return image.transpose(_TURNS[orientation]), orientation


def upright_size(image: Image.Image) -> tuple[tuple[int, int], int]:
    """(H, W) of what :func:`turned_upright` gives, and the orientation, from the image's header where that says it."""
    if image.format == "TIFF":  # Pillow turns some of these while it loads them
        upright, orientation = turned_upright(image)
        return (upright.height, upright.width), orientation
    orientation = orientation_of(image)
    return (image.size if orientation in TRANSPOSING else image.size[::-1]), orientation


def as_stored(upright: Image.Image, orientation: int) -> Image.Image:
    """Undoes :func:`turned_upright`."""
    return upright if orientation == 1 else upright.transpose(_TURNS[_INVERSE.get(orientation, orientation)])


def to_pixels(image: Image.Image) -> Tensor:
    """An image of any of Pillow's modes as uint8 [3,H,W], RGB; transparency is dropped.

    Gray of 16 or 32 bits does not say which value is white. Here it is the smallest of 255, 4095 and 65535 (of floats
    also 1) that no value exceeds. Values that would leave such a range more than 15 / 16 unused, exceed 65535 or lie
    below 0 are stretched instead: black is 0 or the lowest value, white the highest. What is no number becomes black,
    infinities the lowest and highest level.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_levels(_gray(image)))
    elif image.mode == "La":  # the one mode that has no way to RGB
        image = image.convert("LA")
    return torch.from_numpy(np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy())


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; a damaged one, or none, counts as 1."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # the parser fails in many ways, and an image with damaged EXIF data is still an image
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _gray(image: Image.Image) -> NDArray[np.generic]:
    values: NDArray[np.generic] = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT) == (1,) and tags.get(_BITS_PER_SAMPLE) == (32,):
        return values.view(np.uint32)  # which Pillow reads as signed
    return values


def _levels(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Gray values of any range as 0..255: see :func:`to_pixels`."""
    ranges = _RANGES[1:] if gray.dtype.kind in "iu" else _RANGES
    values = gray.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    white = next((limit for limit in ranges if high <= limit), high)
    if low < 0 or high < white / 16:
        white = high
    low = min(low, 0.0)
    scale = 255 / max(white - low, 1e-30)
    scaled = np.nan_to_num(values * scale - low * scale, nan=0.0)  # in this order the largest floats do not overflow
    return scaled.clip(0, 255).round().astype(np.uint8)
