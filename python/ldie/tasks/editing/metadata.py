# SPDX-License-Identifier: Apache-2.0
"""What a photograph carries beside its pixels, made true for pixels that were turned upright and edited."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin

_PREFIX = b"Exif\x00\x00"
_ORIENTATION = 274
_DESCRIBING = (270, 271, 272, 305, 306, 315, 33432)
"""Tags of a TIFF beside those of its pixels: description, make, model, software, date, artist, copyright."""
_DIRECTORIES = (34665, 34853)
"""EXIF's and GPS's own."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d+")


@dataclass(frozen=True)
class Metadata:
    """EXIF data, colour profile, XMP packet and pixels per inch, as far as the file has them."""

    exif: bytes | None = None
    """As in a JPEG file, from ``Exif`` on; a TIFF's is copied from file to file instead."""
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    @staticmethod
    def of(image: Image.Image) -> Metadata:
        """That of an image file that Pillow has opened, its orientation 1 and without its thumbnail."""
        exif, icc, xmp, dpi = (image.info.get(name) for name in ("exif", "icc_profile", "xmp", "dpi"))
        return Metadata(
            _upright_exif(exif) if isinstance(exif, bytes) and image.format != "TIFF" else None,
            icc if isinstance(icc, bytes) and icc[16:20] == b"RGB " else None,  # one of gray would be wrong
            _upright_xmp(xmp) if isinstance(xmp, bytes) else None,
            (float(dpi[0]), float(dpi[1])) if dpi and all(side > 0 for side in dpi) else None,
        )

    def save_options(self) -> dict[str, Any]:
        """For Pillow's ``save``."""
        options = {"exif": self.exif, "icc_profile": self.icc, "xmp": self.xmp, "dpi": self.dpi}
        return {name: value for name, value in options.items() if value is not None}


def _upright_exif(exif: bytes) -> bytes:
    """EXIF data with orientation 1 and no thumbnail, all else bit for bit; damaged data as it is."""
    data = bytearray(exif)
    start = len(_PREFIX) if exif.startswith(_PREFIX) else 0
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[start : start + 2]))
    try:
        if order is None:
            return exif
        directory = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        after = directory + 2 + 12 * count
        struct.pack_into(f"{order}I", data, after, 0)  # the next directory is the thumbnail's: of the unedited picture
        for entry in range(directory + 2, after, 12):
            if struct.unpack_from(f"{order}H", data, entry)[0] == _ORIENTATION:
                struct.pack_into(f"{order}HIHH", data, entry + 2, 3, 1, 1, 0)
    except struct.error:
        return exif
    return bytes(data)


def _upright_xmp(xmp: bytes) -> bytes:
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def copy_tiff_metadata(source: Path, path: Path) -> None:
    """Gives a TIFF file that was just written the texts, EXIF and GPS data of another.

    Directories point to each other by places in the file: what is added, and a new first directory with it, go to the
    end of the file, and the file's header then points there. What was there is not touched.
    """
    with Image.open(source) as image:
        exif = image.getexif()
        added: dict[int, Any] = {tag: exif[tag] for tag in _DESCRIBING if tag in exif}
        added |= {tag: values for tag in _DIRECTORIES if (values := dict(exif.get_ifd(tag)))}
    if not added:
        return
    with path.open("rb+") as file:
        prefix = file.read(4)
        order = "<" if prefix.startswith(b"II") else ">"
        (first,) = struct.unpack(f"{order}I", file.read(4))
        end = file.seek(0, 2)
        end += file.write(bytes(end % 2))  # directories begin at even places
        directory = TiffImagePlugin.ImageFileDirectory_v2(prefix + bytes(4))
        for tag, value in added.items():
            directory[tag] = value
        data = directory.tobytes(end)
        end += file.write(data + bytes(len(data) % 2))
        file.seek(first)
        entries = _entries(file.read(1 << 16), order) | _entries(data, order)
        file.seek(end)
        file.write(
            struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
        )
        file.seek(4)
        file.write(struct.pack(f"{order}I", end))


def _entries(directory: bytes, order: str) -> dict[int, bytes]:
    """A directory's entries of 12 bytes, by their tags."""
    (count,) = struct.unpack_from(f"{order}H", directory)
    entries = [directory[at : at + 12] for at in range(2, 2 + 12 * count, 12)]
    return {struct.unpack_from(f"{order}H", entry)[0]: entry for entry in entries}
