# SPDX-License-Identifier: Apache-2.0
"""Images in files and in memory to tensors."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldie.errors import DataError
from ldie.files import first_line
from ldie.tasks.detection.pixels import TRANSPOSING, as_stored, to_pixels, turned_upright, upright_size


def read_image(path: str | Path) -> Tensor:
    """The pixels of an image file as people see it, turned by the orientation in its EXIF data.

    Everything becomes RGB of 8 bits: see :func:`ldie.tasks.detection.pixels.to_pixels` for gray of more bits.
    Transparency is dropped; of several frames or pages, the first is read.

    Args:
        path: A file in any format that Pillow reads.

    Returns:
        uint8 [3,H,W], RGB.

    Raises:
        DataError: The file is missing, no image, truncated, or larger than Pillow opens.
    """
    with one_line_errors(path):
        return to_pixels(_open(path)[0])


def read_annotated_image(path: Path, size: tuple[int, int], annotation_file: Path) -> Tensor:
    """The pixels that annotations refer to, where an EXIF orientation leaves two readings of a file.

    Where the upright image has the annotated size, it is taken; else, where the stored pixels have it, those. So a
    square image is upright, as annotation tools show it.

    Args:
        path: As for :func:`read_image`.
        size: (H, W) that the annotation file says.
        annotation_file: Named when the image has another size.

    Returns:
        uint8 [3,H,W], RGB, of ``size``.

    Raises:
        DataError: As for :func:`read_image`; or neither reading has the annotated size.
    """
    with one_line_errors(path):
        upright, orientation = _open(path)
        if (upright.height, upright.width) == size:
            return to_pixels(upright)
        stored = as_stored(upright, orientation)
        if (stored.height, stored.width) == size:
            return to_pixels(stored)
    turned = f" ({upright.height} x {upright.width} turned by its EXIF orientation {orientation})"
    raise DataError(
        f"{path}: has {stored.height} x {stored.width} pixels{turned if orientation != 1 else ''}, but "
        f"{annotation_file} says {size[0]} x {size[1]}; restore the image that was annotated"
    )


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) of an image file as :func:`read_image` gives it, and as it is stored; its pixels are not read.

    Raises:
        DataError: The file is missing, no image, or larger than Pillow opens.
    """
    with one_line_errors(path):
        check_regular(path)
        with Image.open(path) as image:
            upright, orientation = upright_size(image)
    return upright, (upright[::-1] if orientation in TRANSPOSING else upright)


def to_image(source: Any) -> Tensor:
    """An image in any of the usual forms as uint8 [3,H,W], RGB.

    Args:
        source: Path of a file; Pillow image, which is turned by its EXIF orientation if it has one; array [H,W,3]
            (RGB) or [H,W] (gray) of uint8; tensor [3,H,W] of uint8, or of floats from 0 to 1.

    Raises:
        DataError: A file that cannot be read, an image without pixels, or something else.
    """
    if isinstance(source, (str, Path)):
        return read_image(source)
    if isinstance(source, Image.Image):
        with one_line_errors("image"):
            return to_pixels(turned_upright(source)[0])
    if isinstance(source, (np.ndarray, Tensor)) and 0 in source.shape:
        raise DataError(f"expected an image, got {_form(source)} without pixels; leave it out")
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and (source.ndim == 2 or source.shape[2:] == (3,)):
        return to_pixels(Image.fromarray(source))
    if isinstance(source, Tensor) and source.ndim == 3 and source.shape[0] == 3:
        if source.dtype == torch.uint8:
            return source.cpu()
        if source.is_floating_point():
            return (source.float().nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8).cpu()
    raise DataError(
        f"expected an image as path, Pillow image, uint8 array [H,W,3] or [H,W], or tensor [3,H,W], "
        f"got {_form(source)}; convert it"
    )


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Image files: those given, and those in the folders given, in the order of their names.

    Raises:
        DataError: A folder without images, or one that cannot be read.
    """
    files: list[Path] = []
    for path in paths:
        try:
            files += _inside(path) if path.is_dir() else [path]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    return files


def is_image(file: Path) -> bool:
    """Whether its name is that of an image that can be read."""
    readable = Image.registered_extensions().keys() - {".pdf", ".palm"}  # which Pillow only writes
    return file.suffix.lower() in readable


def _inside(folder: Path) -> list[Path]:
    inside = sorted(file for file in folder.iterdir() if is_image(file))
    if not inside:
        raise DataError(f"{folder}: no images in this folder; give image files or a folder of some")
    return inside


def _open(path: str | Path) -> tuple[Image.Image, int]:
    """The upright image of a file, and the EXIF orientation that it was turned by."""
    check_regular(path)
    with Image.open(path) as image:
        return turned_upright(image)


def check_regular(path: str | Path) -> None:
    """Raises a DataError for what is there and no regular file."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):  # reading a pipe waits for ever
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise DataError(f"{path}: not a readable image ({kind}); give an image file")


@contextmanager
def one_line_errors(name: str | Path) -> Iterator[None]:
    """Turns whatever Pillow raises for an image into one line with its name, and keeps its warnings quiet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of images near the limit, damaged metadata: what matters is raised
            yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name}: no such image; correct the name or restore the file") from None
    except Image.DecompressionBombError as error:
        reason = first_line(error).partition(",")[0]
        raise DataError(f"{name}: too large to open ({reason}); scale it down or cut it into tiles") from error
    except Exception as error:  # Pillow's readers report broken files in many ways, depending on the format
        if isinstance(error, OSError) and error.strerror:  # the system's, not Pillow's
            raise DataError(f"{name}: cannot be read ({error.strerror}); make it readable") from error
        raise DataError(f"{name}: not a readable image ({first_line(error)}); replace the file") from error


def _form(source: Any) -> str:
    if isinstance(source, (np.ndarray, Tensor)):
        return f"{type(source).__name__} {source.dtype} {list(source.shape)}"
    return type(source).__name__
