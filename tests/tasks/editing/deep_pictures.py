# SPDX-License-Identifier: Apache-2.0
"""Plain PNG and TIFF files of 16 bit, written and read without the library under test."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
Deep = NDArray[np.uint16]


def write_png(path: Path, pixels: Deep, chunks: dict[bytes, bytes] | None = None) -> None:
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = {b"IHDR": header, **(chunks or {}), b"IDAT": zlib.compress(rows), b"IEND": b""}
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def read_png(path: Path) -> Deep:
    data, at, body = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IHDR":
            width, height, bits, color_type, *_, interlaced = struct.unpack_from(">IIBBBBB", data, at + 8)
        body += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    assert bits == 16 and interlaced == 0
    channels = {value: key for key, value in COLOR_TYPES.items()}[color_type]
    step, rows = 2 * channels, np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, -1)
    above = np.zeros(rows.shape[1] - 1 + step, np.int64)
    result = []
    for filtered, *row in rows.astype(np.int64).tolist():
        line = np.zeros_like(above)
        for i, value in enumerate(row):
            a, b, c = line[i], above[i + step], above[i]
            line[i + step] = (value + _predicted(filtered, int(a), int(b), int(c))) % 256
        result.append(line[step:].astype(np.uint8).tobytes())
        above = line
    return np.frombuffer(b"".join(result), ">u2").reshape(height, width, channels).astype(np.uint16)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    nearest = min((left, up, corner), key=lambda value: abs(guess - value))
    return (0, left, up, (left + up) // 2, nearest)[kind]


def write_tiff(path: Path, pixels: Deep, tags: list[tuple[int, int, int, bytes]] | None = None) -> None:
    """Uncompressed, one strip; tags of their own are (number, type, count, value)."""
    height, width, channels = pixels.shape

    def short(tag: int, *values: int) -> tuple[int, int, int, bytes]:
        return tag, 3, len(values), struct.pack(f"<{len(values)}H", *values)

    body = pixels.astype("<u2").tobytes()
    entries = [
        short(256, width), short(257, height), short(258, *[16] * channels), short(259, 1),
        short(262, 2 if channels > 2 else 1), (273, 4, 1, struct.pack("<I", 8)), short(277, channels),
        (278, 4, 1, struct.pack("<I", height)), (279, 4, 1, struct.pack("<I", len(body))),
        *([short(338, 2)] if channels in (2, 4) else []), *(tags or []),
    ]  # fmt: skip
    entries.sort()
    directory = 8 + len(body)
    free = directory + 2 + 12 * len(entries) + 4
    table, extra = struct.pack("<H", len(entries)), b""
    for tag, kind, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", free + len(extra))
        extra += b"" if len(value) <= 4 else value + bytes(len(value) % 2)
        table += struct.pack("<HHI", tag, kind, count) + place
    path.write_bytes(b"II*\0" + struct.pack("<I", directory) + body + table + bytes(4) + extra)


def read_tiff(path: Path) -> Deep:
    """Uncompressed strips."""
    with Image.open(path) as image:
        tags = dict(image.tag_v2)  # type: ignore[attr-defined]
    assert tags[259] == 1 and set(tags[258]) == {16}
    data = path.read_bytes()
    body = b"".join(data[at : at + size] for at, size in zip(tags[273], tags[279]))
    order = "<u2" if data.startswith(b"II") else ">u2"
    return np.frombuffer(body, order).reshape(tags[257], tags[256], -1).astype(np.uint16)
