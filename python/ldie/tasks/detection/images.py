# SPDX-License-Identifier: Apache-2.0
"""Image files to tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldie.errors import DataError


def read_image(path: str | Path) -> Tensor:
    """The pixels of an image file.

    An orientation in the EXIF data is ignored, since annotations refer to the stored pixels; grayscale (of 16
    bits too) and palette images become RGB, transparency is dropped.

    Args:
        path: A file in any format that Pillow reads.

    Returns:
        uint8 [3,H,W], RGB.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(_eight_bit(image).convert("RGB")).transpose(2, 0, 1).copy()
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; correct the name or restore the file") from None
    # Pillow reports broken files by any of these, depending on the format.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({_one_line(error)}); replace the file") from error
    return torch.from_numpy(pixels)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit gray as 8-bit gray; Pillow's own conversion cuts at 255, which leaves such a picture white."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
