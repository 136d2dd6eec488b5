"""What a fuzzer starts from: strings, masks and polygons as COCO's files hold them, as bytes that target.cpp reads."""

from __future__ import annotations

import struct

import numpy as np
from pycocotools import mask as pycoco

#: The first byte: which of target.cpp's calls.
STRING, COUNTS, MASKS, SCAN, POLYGON, BOXES = range(6)

#: Strings for a mask of 4 pixels: what a reader without bounds would take, though it is of no coverage in one that has.
MALFORMED = [b"o", b"1o", b"1oo", b"oooooooo0", 19 * b"o" + b"0", b"5O", b"O5", b"05O", b"41", b"5", b"3", b"1\xff"]


def blobs(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Some ellipses, one with a noisy edge."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(generator.integers(1, 4))):
        center, radius = generator.random(2) * [height, width], 1 + generator.random(2) * [height, width] / 3
        distance = ((y - center[0]) / radius[0]) ** 2 + ((x - center[1]) / radius[1]) ** 2
        mask |= distance + generator.normal(0, 0.05, mask.shape) < 1
    return mask


def text(mask: np.ndarray) -> bytes:
    """COCO's string, with its length before it."""
    counts: bytes = pycoco.encode(np.asfortranarray(mask))["counts"][:255]
    return bytes([len(counts)]) + counts


def pixels(mask: np.ndarray) -> bytes:
    """Column by column, the pixel in the top bit of a byte and how many follow in the others."""
    flat, packed, start = mask.flatten("F"), bytearray(), 0
    while start < flat.size:
        run = flat[start : start + 128]
        length = int((run != run[0]).argmax()) or run.size
        packed.append(128 * int(run[0]) + length - 1)
        start += length
    return bytes(packed)


def coordinate(value: float) -> bytes:
    """All bits of a double."""
    return b"\0" + struct.pack("<d", value)


def seeds(count: int = 10) -> list[bytes]:
    """Some inputs for each of the target's calls."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        height, width = (int(side) for side in generator.integers(5, 60, 2))
        first, second = blobs(generator, height, width), blobs(generator, height, width)
        size = bytes([height, width])
        runs = np.diff(np.flatnonzero(np.diff(first.flatten("F"), prepend=2, append=2))) % 254
        outline = (generator.random(12) - 0.25) * 2 * max(height, width)
        boxes = generator.random(16) * 50
        found += [
            bytes([STRING]) + size + text(first),
            bytes([COUNTS]) + size + b"\1" + runs.astype(np.uint8).tobytes(),
            bytes([MASKS]) + size + b"\1\0" + text(first) + b"\1" + pixels(second),
            bytes([SCAN]) + size + b"\0\0" + pixels(first),
            bytes([POLYGON]) + size + b"".join(map(coordinate, outline.round(2))),
            bytes([BOXES, 0]) + b"".join(map(coordinate, boxes)),
        ]
    return [*found, *(bytes([STRING, 2, 2, len(counts)]) + counts for counts in MALFORMED)]
