# SPDX-License-Identifier: Apache-2.0
"""Images in files and in memory to tensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldie.errors import DataError
from ldie.files import first_line


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
            return _pixels(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; correct the name or restore the file") from None
    # Pillow reports broken files by any of these, depending on the format.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({first_line(error)}); replace the file") from error


def to_image(source: Any) -> Tensor:
    """An image in any of the usual forms as uint8 [3,H,W], RGB.

    Args:
        source: Path of a file; Pillow image; array [H,W,3] (RGB) or [H,W] (gray) of uint8; tensor [3,H,W] of uint8, or
            of floats from 0 to 1.

    Raises:
        DataError: A file that cannot be read, or something else.
    """
    if isinstance(source, (str, Path)):
        return read_image(source)
    if isinstance(source, Image.Image):
        return _pixels(source)
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and (source.ndim == 2 or source.shape[2:] == (3,)):
        return _pixels(Image.fromarray(source))
    if isinstance(source, Tensor) and source.ndim == 3 and source.shape[0] == 3:
        if source.dtype == torch.uint8:
            return source.cpu()
        if source.is_floating_point():
            return (source.float() * 255).round().clamp(0, 255).to(torch.uint8).cpu()
    raise DataError(
        f"expected an image as path, Pillow image, uint8 array [H,W,3] or [H,W], or tensor [3,H,W], "
        f"got {_form(source)}; convert it"
    )


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Image files: those given, and those in the folders given, in the order of their names.

    Raises:
        DataError: A folder without images.
    """
    readable = Image.registered_extensions().keys() - {".pdf", ".palm"}  # which Pillow only writes
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in readable)
        if not inside:
            raise DataError(f"{path}: no images in this folder; give image files or a folder of some")
        files += inside
    return files


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(_eight_bit(image).convert("RGB")).transpose(2, 0, 1).copy())


def _form(source: Any) -> str:
    if isinstance(source, (np.ndarray, Tensor)):
        return f"{type(source).__name__} {source.dtype} {list(source.shape)}"
    return type(source).__name__


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit gray as 8-bit gray; Pillow's own conversion cuts at 255, which leaves such a picture white."""
    if not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
