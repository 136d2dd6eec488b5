# SPDX-License-Identifier: Apache-2.0
"""Photographs read and written whole: upright, with EXIF data, colour profile, alpha and up to 16 bit a channel."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from ldie.errors import DataError
from ldie.files import write_whole
from ldie.tasks.detection.images import check_regular, one_line_errors
from ldie.tasks.detection.pixels import orientation_of
from ldie.tasks.editing.photographs.deep_files import read_deep, write_deep
from ldie.tasks.editing.photographs.metadata import Metadata, copy_tiff_metadata, put_into_png

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what matters of a broken file is raised

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
QUALITY = 95
"""Of JPEG, and of WebP that is not lossless. What the file had cannot be told from it."""
_COLORS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "I;16L", "I;16N", "YCbCr")
_BITS, _SAMPLE_FORMAT = 258, 339  # tags of TIFF files
_ROWS = 256
_LOSSLESS_WEBP = b"VP8L"


@dataclass(frozen=True)
class Photo:
    """The pixels of a file, upright, and what else it is to be written with."""

    path: Path
    pixels: NDArray[Any]
    """uint8 or uint16 [H, W, 3], RGB."""
    alpha: NDArray[Any] | None
    """[H, W], of the same type."""
    kind: str
    """Of :data:`FORMATS`."""
    metadata: Metadata
    options: dict[str, Any] = field(default_factory=dict)
    """How its pixels were compressed, for Pillow's ``save``."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), upright."""
        height, width, _ = self.pixels.shape
        return height, width


def check_photo(path: Path) -> None:
    """Checks all that the beginning of a file tells.

    Raises:
        DataError: It is missing, no image, animated, of another colour space, or larger than Pillow opens.
    """
    with one_line_errors(path):
        check_regular(path)
        with Image.open(path) as image:
            _kind(path, image)


def read_photo(path: Path) -> Photo:
    """Reads a file of one of :data:`FORMATS`.

    Gray and palettes become RGB. The EXIF orientation is carried out and set to 1; EXIF data, XMP, resolution and an
    RGB colour profile are kept as they are, a thumbnail of the unedited photograph is not.

    Raises:
        DataError: As :func:`check_photo`; or the file is truncated, or of 16 bit and pyvips is not installed.
    """
    with one_line_errors(path):
        check_regular(path)
        with Image.open(path) as image:
            kind, options = _kind(path, image), _options(path, image)
            if kind == "PNG":
                image.load()  # what it says of itself may stand behind its pixels
            metadata = Metadata.of(image)
            stored: NDArray[Any]
            if _is_deep(path, image):
                stored, orientation = read_deep(path), orientation_of(image)
            else:
                image.load()
                stored, orientation = _stored(image), orientation_of(image)  # Pillow turns some files as it loads them
    pixels, alpha = _channels(_turned(stored, orientation))
    return Photo(path, pixels, alpha, kind, metadata, options)


def write_photo(photo: Photo, pixels: NDArray[Any], path: Path) -> None:
    """Writes edited pixels as a file of the photograph's kind; it appears whole or not at all.

    Args:
        photo: What was edited.
        pixels: Of the same type; of another size only where the photograph has no alpha.
        path: The file.

    Raises:
        CheckpointError: It cannot be written.
    """
    if photo.alpha is not None and photo.alpha.shape != pixels.shape[:2]:
        raise DataError(f"{photo.path}: has transparency, so that it cannot change its size; flatten it first")

    def write(temporary: Path) -> None:
        if pixels.dtype == np.uint16:
            compression = photo.options.get("compression", "")
            write_deep(temporary, pixels, photo.alpha, photo.kind, photo.metadata, compression)
        else:
            image = Image.fromarray(pixels)
            if photo.alpha is not None:
                image.putalpha(Image.fromarray(photo.alpha))
            image.save(temporary, photo.kind, **photo.options, **photo.metadata.save_options(photo.kind))
        if photo.kind == "PNG":
            put_into_png(temporary, photo.metadata)
        if photo.kind == "TIFF":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of damaged metadata
                copy_tiff_metadata(photo.path, temporary)

    write_whole(path, write)


def _kind(path: Path, image: Image.Image) -> str:
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # of phones: more pictures behind the first
    if kind not in FORMATS:
        raise DataError(f"{path}: is a {kind} file; only {', '.join(FORMATS)} are edited: convert it")
    if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
        raise DataError(f"{path}: is animated or has several pages; give one image")
    bits, formats = (getattr(image, "tag_v2", {}).get(tag, (1,)) for tag in (_BITS, _SAMPLE_FORMAT))
    if image.mode not in _COLORS or set(formats) != {1} or max(bits) > 16:
        what = "floating-point or 32-bit" if image.mode in ("F", "I") or max(bits) > 16 else image.mode
        raise DataError(f"{path}: has {what} colours; only gray and RGB of 8 or 16 bits are edited: convert it")
    if kind == "BMP" and image.has_transparency_data:
        raise DataError(f"{path}: has transparency, which is not kept in BMP files: convert it to PNG")
    return kind


def _is_deep(path: Path, image: Image.Image) -> bool:
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24:] == b"\x10"  # bits of a channel
    return max(getattr(image, "tag_v2", {}).get(_BITS, (1,))) > 8


def _options(path: Path, image: Image.Image) -> dict[str, Any]:
    if image.format in ("JPEG", "MPO"):
        sampling = JpegImagePlugin.get_sampling(image)
        options = {"quality": QUALITY, "progressive": bool(image.info.get("progressive"))}
        return options if sampling < 0 else options | {"subsampling": sampling}
    if image.format == "TIFF":
        compression = image.info.get("compression", "raw")
        return {"compression": compression if compression in ("raw", "tiff_lzw", "packbits") else "tiff_adobe_deflate"}
    if image.format == "WEBP":
        with path.open("rb") as file:
            return {"lossless": True, "exact": True} if _LOSSLESS_WEBP in file.read(1 << 16) else {"quality": QUALITY}
    return {}


def _stored(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 [H, W, 3 or 4], some rows at a time: of a whole image, Pillow would need memory for two copies."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    pixels = np.empty((image.height, image.width, len(mode)), np.uint8)
    for first in range(0, image.height, _ROWS):
        rows = image.crop((0, first, image.width, min(image.height, first + _ROWS)))
        pixels[first : first + _ROWS] = np.asarray(rows if image.mode == mode else rows.convert(mode))
    return pixels


def _channels(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """RGB and alpha of gray or RGB, with alpha or without."""
    channels = pixels.shape[2]
    alpha = np.ascontiguousarray(pixels[:, :, -1]) if channels in (2, 4) else None
    color = pixels[:, :, :3] if channels > 2 else np.repeat(pixels[:, :, :1], 3, axis=2)
    return color, alpha


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Stored pixels [H, W, channels] upright, by the EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
