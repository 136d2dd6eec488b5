"""Hostile calls of ldie_ext.coco.mask: objects as COCO's files hold them, and what is none."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from ldie_ext.coco import mask

INF, NAN = float("inf"), float("nan")
SIDES: list[Any] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    64,
    65,
    -1,
    5.0,
    2.5,
    NAN,
    INF,
    2**15,
    2**16,
    2**20,
    2**31,
    2**40,
    2**64,
    "3",
]
COORDINATES: list[Any] = [
    0,
    1,
    2.5,
    3,
    7,
    20,
    64,
    -1,
    -30,
    1e-300,
    1e7,
    1e8,
    -1e8,
    2**28,
    2**31,
    1e18,
    -1e308,
    1e308,
    INF,
    NAN,
]
OBJECTS: list[Any] = [
    None, [], (), {}, "x", b"", b"13", object(), True, 3, -1, 2.5, NAN, 2**70, [None], [[]], [[1, 2], [3]], np.array(3),
    np.zeros((3, 4)), np.zeros((2, 2), np.uint8), np.array([object()]), range(3), bytearray(b"13"), memoryview(b"13"),
]  # fmt: skip


class Changing(list[Any]):
    """A list whose length is not what it was, as code that runs meanwhile can make it."""

    def __len__(self) -> int:
        if super().__len__() and random.random() < 0.3:
            self.pop()
        return super().__len__()


def number(rng: random.Random, values: list[Any]) -> Any:
    return rng.choice(values) if rng.random() < 0.5 else rng.randrange(12)


def rle(rng: random.Random) -> Any:
    """Mostly a mask as it should be, in one of the forms, with something changed now and then."""
    height, width = rng.randrange(12), rng.randrange(12)
    pixels = np.array([rng.random() < 0.4 for _ in range(height * width)], np.uint8).reshape(height, width)
    encoded: dict[str, Any] = dict(mask.encode(pixels))
    kind = rng.randrange(6)
    if kind == 0:
        encoded["counts"] = mask.runs([encoded])[0].tolist()  # type: ignore[list-item]
        if encoded["counts"] and rng.random() < 0.5:
            encoded["counts"][rng.randrange(len(encoded["counts"]))] = rng.choice(SIDES)
    elif kind == 1:
        encoded["counts"] = bytearray(encoded["counts"])
    elif kind == 2:
        encoded["counts"] = encoded["counts"].decode()
    elif kind == 3 and encoded["counts"]:
        changed = bytearray(encoded["counts"])
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        encoded["counts"] = bytes(changed)
    elif kind == 4:
        encoded["counts"] = bytes(rng.randrange(32, 128) for _ in range(rng.randrange(20)))
    if rng.random() < 0.15:
        encoded["size"] = [number(rng, SIDES) for _ in range(rng.choice([2, 2, 2, 1, 3]))]
    if rng.random() < 0.05:
        encoded[rng.choice(["size", "counts"])] = rng.choice(OBJECTS)
    if rng.random() < 0.02:
        del encoded[rng.choice(list(encoded))]
    return encoded if rng.random() < 0.97 else rng.choice(OBJECTS)


def polygon(rng: random.Random) -> Any:
    points = [number(rng, COORDINATES) for _ in range(rng.choice([0, 2, 4, 4, 6, 8, 8, 12, 3, 5]))]
    if rng.random() < 0.1:
        with np.errstate(over="ignore"):
            return np.array(points, rng.choice([np.float64, np.float32]))
    return points if rng.random() < 0.97 else rng.choice(OBJECTS)


def several(rng: random.Random, make: Callable[[random.Random], Any]) -> Any:
    items = [make(rng) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))]
    form = rng.random()
    if form < 0.7:
        return items
    return tuple(items) if form < 0.85 else Changing(items) if form < 0.95 else rng.choice([*items, *OBJECTS])


def segmentation(rng: random.Random) -> Any:
    return rle(rng) if rng.random() < 0.3 else several(rng, polygon)


def pixels(rng: random.Random) -> Any:
    shape = [rng.randrange(9) for _ in range(rng.choice([2, 3, 3, 1]))]
    array = np.random.default_rng(rng.randrange(2**31)).integers(0, 3, shape)
    array = array.astype(rng.choice([np.uint8, np.uint8, bool, np.int64, np.float64]))
    array = np.asfortranarray(array) if rng.random() < 0.3 else array.T if rng.random() < 0.3 else array
    return array[::-1] if rng.random() < 0.2 else array if rng.random() < 0.95 else rng.choice(OBJECTS)


def operands(rng: random.Random) -> Any:
    return several(rng, rle if rng.random() < 0.6 else lambda rng: [number(rng, COORDINATES) for _ in range(4)])


def crowds(rng: random.Random) -> Any:
    return rng.choice([0, 1, [0], [0, 1], [1] * 3, [0] * 5, *OBJECTS])


def integers(rng: random.Random) -> Any:
    values = sorted(rng.randrange(9) for _ in range(rng.randrange(5)))
    return rng.choice([values, np.array(values), np.array(values, np.float32), np.array(values)[::-1], *OBJECTS[:8]])


class Hostile:
    """Random calls of all functions."""

    allowed = (ValueError,)

    def make(self, rng: random.Random) -> tuple[str, Callable[[], Any]]:
        random.seed(rng.randrange(2**31))  # of what changes by itself
        name, arguments = rng.choice([
            ("encode", lambda: [pixels(rng)]),
            ("decode", lambda: [several(rng, rle)]),
            ("merge", lambda: [several(rng, rle), rng.random() < 0.5]),
            ("area", lambda: [several(rng, rle)]),
            ("toBbox", lambda: [several(rng, rle)]),
            ("iou", lambda: [operands(rng), operands(rng), crowds(rng)]),
            ("frPyObjects", lambda: [several(rng, polygon), number(rng, SIDES), number(rng, SIDES)]),
            ("rasterize", lambda: [several(rng, segmentation), number(rng, SIDES), number(rng, SIDES)]),
            ("runs", lambda: [several(rng, rle)]),
            ("from_runs", lambda: [integers(rng), integers(rng), integers(rng)]),
            ("set_num_threads", lambda: [rng.choice([1, 2, *OBJECTS])]),
        ])  # fmt: skip
        values = arguments()
        return f"mask.{name}({', '.join(map(ascii, values))})", lambda: getattr(mask, name)(*values)
