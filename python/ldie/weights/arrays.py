# SPDX-License-Identifier: Apache-2.0
"""NumPy's arrays in pickles: what they hold becomes tensors, without anything of NumPy being called by the file."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldie.weights.pickles import ENCODING, Known, Stateful, Table, put, refusal

_DIMENSIONS = 64
_TYPES = re.compile(r"[<>|=]?([biuf][1248])")


class DType(Stateful):
    """A type of numbers."""

    def __init__(self, name: Any, *_: Any) -> None:
        match = _TYPES.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise refusal(f"an array of {name if isinstance(name, str) else 'an unknown type'}")
        self.type = np.dtype(match[1])

    def take(self, state: Any) -> None:
        """Only the byte order may differ from that of a type that is made of its name."""
        order, parts = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or parts != (None, None, None):
            raise refusal("an array of records")
        self.type = self.type.newbyteorder(order)

    def numbers(self, data: Any) -> np.ndarray:
        """What raw data stands for; one after another, in this machine's byte order."""
        raw = data.encode(ENCODING) if isinstance(data, str) else data
        if not isinstance(raw, (bytes, bytearray)):
            raise refusal("an array of objects")
        native = self.type.newbyteorder("=")
        return np.frombuffer(bytearray(raw), self.type).astype(native, copy=False)


class Array(Stateful):
    """An array, filled by the state that follows it."""

    tensor: Tensor = torch.empty(0)

    def fill(self, shape: Any, dtype: Any, fortran: Any, data: Any) -> Array:
        """Takes over raw data; raises a ValueError where they do not make this shape."""
        if not isinstance(dtype, DType) or not _is_shape(shape):
            raise refusal("an array of an unknown kind")
        numbers = dtype.numbers(data)
        if math.prod(shape) != numbers.size:
            raise ValueError(f"an array of shape {list(shape)[:8]} with {numbers.size} numbers")
        self.tensor = torch.from_numpy(numbers.reshape(shape, order="F" if fortran else "C")).contiguous()
        return self

    def take(self, state: Any) -> None:
        """What ``numpy.ndarray.__setstate__`` takes: version, shape, type, Fortran order, data."""
        self.fill(*state[1:])


def _is_shape(shape: Any) -> bool:
    return type(shape) is tuple and len(shape) <= _DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)


def _reconstruct(kind: Any, *_: Any) -> Array:
    if not isinstance(kind, Known) or kind.name != "numpy.ndarray":
        raise refusal("an array of a class of its own")
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array().fill(shape, dtype, order == "F", data)


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 writes bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise refusal("text in another encoding than latin1")
    return text.encode(ENCODING)


def _mapping(items: Any = ()) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, value in items:
        put(result, key, value)
    return result


def scalar(dtype: Any, data: Any) -> float | int | bool:
    """One number."""
    if not isinstance(dtype, DType):
        raise refusal("a number of an unknown kind")
    value: float | int | bool = dtype.numbers(data).item()
    return value


ARRAYS: Table = {
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
    "numpy.ndarray": None,
    "numpy.dtype": DType,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _mapping,
}
"""All that a pickle of arrays by name needs."""
SCALARS: Table = {f"numpy.{core}.multiarray.scalar": scalar for core in ("core", "_core")}
