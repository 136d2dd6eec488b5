# SPDX-License-Identifier: Apache-2.0
"""What a photograph carries beside its pixels, made true for pixels that were turned upright and edited."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin

_PREFIX = b"Exif\x00\x00"
_ORIENTATION = 274
_XMP = 700
_DESCRIBING = (270, 271, 272, 305, 306, 315, _XMP, 33432, 33723)
"""Tags of a TIFF beside those of its pixels: description, make, model, software, date, artist, XMP, copyright, IPTC."""
_RESOLUTION = (282, 283, 296)
_DIRECTORIES = (34665, 34853)
"""EXIF's and GPS's own."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d+")


@dataclass(frozen=True)
class Metadata:
    """EXIF data, colour profile, XMP packet and pixels per inch, as far as the file has them."""

    exif: bytes | None = None
    """As in a JPEG file, from ``Exif`` on; that of a TIFF, and its XMP packet, are copied from file to file instead."""
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
            (float(dpi[0]), float(dpi[1])) if dpi and _has_resolution(image) and min(dpi) > 0 else None,
        )

    def save_options(self, kind: str) -> dict[str, Any]:
        """For Pillow's ``save``, of a PNG only what :func:`put_into_png` leaves to it."""
        options: dict[str, Any] = {"icc_profile": self.icc}
        if kind != "PNG":
            options |= {"exif": self.exif, "xmp": self.xmp, "dpi": self.dpi}
        return {name: value for name, value in options.items() if value is not None}

    def png_chunks(self) -> dict[bytes, bytes]:
        """EXIF data, XMP packet and resolution as chunks of a PNG file."""
        chunks = {}
        if self.dpi is not None:
            chunks[b"pHYs"] = struct.pack(">IIB", *(round(side / 0.0254) for side in self.dpi), 1)
        if self.exif is not None:
            chunks[b"eXIf"] = self.exif.removeprefix(_PREFIX)
        if self.xmp is not None:
            chunks[b"iTXt"] = b"XML:com.adobe.xmp" + bytes(5) + self.xmp
        return chunks


def _has_resolution(image: Image.Image) -> bool:
    """For a TIFF file without one, Pillow says 1 by 1."""
    return image.format != "TIFF" or _RESOLUTION[0] in image.tag_v2  # type: ignore[attr-defined]


def _upright_exif(exif: bytes) -> bytes:
    """EXIF data with orientation 1 and no thumbnail, all else bit for bit; of damaged data, what can be read."""
    data = bytearray(exif)
    start = len(_PREFIX) if exif.startswith(_PREFIX) else 0
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[start : start + 2]))
    if order is None:
        return exif
    with suppress(struct.error):
        directory = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        after = directory + 2 + 12 * count
        for entry in range(directory + 2, after, 12):
            if struct.unpack_from(f"{order}H", data, entry)[0] == _ORIENTATION:
                struct.pack_into(f"{order}HIHH", data, entry + 2, 3, 1, 1, 0)
        struct.pack_into(f"{order}I", data, after, 0)  # the next directory is the thumbnail's: of the unedited picture
    return bytes(data)


def _upright_xmp(xmp: bytes) -> bytes:
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def put_into_png(path: Path, metadata: Metadata) -> None:
    """Gives a PNG file that was just written its metadata, all but the profile, and no other."""
    chunks = metadata.png_chunks()
    whole = path.with_suffix(".whole.tmp")
    try:
        with path.open("rb") as file, whole.open("wb") as copy:
            copy.write(file.read(33))  # signature and header
            for kind, data in chunks.items():
                copy.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
            while (head := file.read(8))[4:] != b"IDAT":
                rest = file.read(int.from_bytes(head[:4], "big") + 4)
                if head[4:] not in (b"pHYs", b"eXIf", b"iTXt"):
                    copy.write(head + rest)
            copy.write(head)
            shutil.copyfileobj(file, copy, 1 << 20)
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)


def copy_tiff_metadata(source: Path, path: Path) -> None:
    """Gives a TIFF file that was just written the texts, EXIF and GPS data of another, and its lack of a resolution.

    Directories point to each other by places in the file: what is added, and a new first directory with it, go to the
    end of the file, and the file's header then points there. What was there is not touched.
    """
    with Image.open(source) as image:
        unknown = () if _has_resolution(image) else _RESOLUTION
    with path.open("rb+") as file:
        prefix = file.read(4)
        order = "<" if prefix.startswith(b"II") else ">"
        (first,) = struct.unpack(f"{order}I", file.read(4))
        end = file.seek(0, 2)
        end += file.write(bytes(end % 2))  # directories begin at even places
        data = _tiff_directory(source, prefix, end)
        end += file.write(data + bytes(len(data) % 2))
        file.seek(first)
        entries = _entries(file.read(1 << 16), order) | _entries(data, order)
        entries = {tag: entry for tag, entry in entries.items() if tag not in unknown}
        file.seek(end)
        table = b"".join(entries[tag] for tag in sorted(entries))
        file.write(struct.pack(f"{order}H", len(entries)) + table + bytes(4))
        file.seek(4)
        file.write(struct.pack(f"{order}I", end))


def _tiff_directory(source: Path, prefix: bytes, place: int) -> bytes:
    """What a TIFF file has to say beside its pixels, as a directory for that place in another; nothing if damaged."""
    try:
        with Image.open(source) as image:
            exif = image.getexif()
            tags: dict[int, Any] = {tag: exif[tag] for tag in _DESCRIBING if tag in exif}
            tags |= {tag: values for tag in _DIRECTORIES if (values := dict(exif.get_ifd(tag)))}
        directory = TiffImagePlugin.ImageFileDirectory_v2(prefix + bytes(4))
        for tag, value in tags.items():
            directory[tag] = _upright_xmp(value) if tag == _XMP and isinstance(value, bytes) else value
        return directory.tobytes(place)
    except Exception:  # Pillow's parser fails in many ways, and a photograph with damaged EXIF data is still one
        return struct.pack("<H", 0)


def _entries(directory: bytes, order: str) -> dict[int, bytes]:
    """A directory's entries of 12 bytes, by their tags."""
    (count,) = struct.unpack_from(f"{order}H", directory)
    entries = [directory[at : at + 12] for at in range(2, 2 + 12 * count, 12)]
    return {struct.unpack_from(f"{order}H", entry)[0]: entry for entry in entries}
