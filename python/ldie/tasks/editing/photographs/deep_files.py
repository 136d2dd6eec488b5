# SPDX-License-Identifier: Apache-2.0
"""PNG and TIFF files of 16 bit, by libvips: Pillow has no such colour images. In and out of the file in pieces."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldie.errors import DataError
from ldie.files import first_line
from ldie.packages import is_installed
from ldie.tasks.editing.photographs.metadata import Metadata

_TIFF_COMPRESSION = {"raw": "none", "tiff_lzw": "lzw", "packbits": "packbits"}
"""libvips' names of Pillow's; all others become deflate, which loses nothing either."""


def read_deep(path: Path) -> NDArray[np.uint16]:
    """The stored pixels of a 16-bit file, uint16 [H, W, channels].

    Raises:
        DataError: pyvips is not installed; libvips' own errors are RuntimeErrors.
    """
    vips = _pyvips(path)
    with path.open("rb") as file:  # pyvips takes no names but those of UTF-8, and reads options in some of them
        source = vips.Source.new_from_descriptor(file.fileno())
        image = vips.Image.new_from_source(source, "", access="sequential", fail_on="truncated")
        pixels: NDArray[np.uint16] = np.frombuffer(image.write_to_memory(), np.uint16)
    return pixels.reshape(image.height, image.width, image.bands)


def write_deep(
    path: Path,
    pixels: NDArray[np.uint16],
    alpha: NDArray[np.uint16] | None,
    kind: str,
    metadata: Metadata,
    compression: str,
) -> None:
    """Writes pixels as PNG or TIFF.

    Args:
        path: The file, whatever its name ends with.
        pixels: uint16 [H, W, 3].
        alpha: uint16 [H, W], contiguous.
        kind: "PNG" or "TIFF".
        metadata: Whose profile and resolution are written with them; libvips would write the rest in its own way.
        compression: Of a TIFF, by Pillow's name.

    Raises:
        OSError: It cannot be written; libvips' own errors are no such ones.
    """
    vips = _pyvips(path)
    height, width, _ = pixels.shape
    pixels = np.ascontiguousarray(pixels)
    image = vips.Image.new_from_memory(pixels.data, width, height, 3, "ushort").copy(interpretation="rgb16")
    if alpha is not None:
        image = image.bandjoin(vips.Image.new_from_memory(alpha.data, width, height, 1, "ushort"))
    if metadata.dpi is not None:
        image = image.copy(xres=metadata.dpi[0] / 25.4, yres=metadata.dpi[1] / 25.4)
    if metadata.icc is not None:
        image.set_type(vips.GValue.blob_type, "icc-profile-data", metadata.icc)
    try:
        with path.open("wb+") as file:
            target = vips.Target.new_to_descriptor(file.fileno())
            if kind == "PNG":
                image.pngsave_target(target, bitdepth=16, keep="icc")
            else:
                compression = _TIFF_COMPRESSION.get(compression, "deflate")
                image.tiffsave_target(target, compression=compression, predictor="horizontal", keep="icc")
    except vips.Error as error:
        raise OSError(first_line(error)) from error


def _pyvips(path: Path) -> Any:
    if not is_installed("pyvips"):
        raise DataError(f"{path}: has 16 bits a channel, for which pyvips is needed; pip install 'ldie-ext[photo]'")
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.WARNING)
    return pyvips
