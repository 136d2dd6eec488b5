# SPDX-License-Identifier: Apache-2.0
"""Image files to tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldie.data.errors import DataError


def read_image(path: str | Path) -> Tensor:
    """The pixels of an image file.

    An orientation in the EXIF data is ignored, since annotations refer to the stored pixels; grayscale and palette
    images become RGB, transparency is dropped.

    Args:
        path: A file in any format that Pillow reads.

    Returns:
        uint8 [3,H,W], RGB.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; correct the name or restore the file") from None
    # Pillow reports broken files by any of these, depending on the format.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({_one_line(error)}); replace the file") from error
    return torch.from_numpy(pixels)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
