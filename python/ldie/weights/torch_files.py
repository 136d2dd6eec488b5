# SPDX-License-Identifier: Apache-2.0
"""What torch.save wrote, read for its tensors alone: also where harmless objects beside them make torch refuse it."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ldie.weights.arrays import ARRAYS, SCALARS
from ldie.weights.pickles import Inert, Known, Table, read_pickle, refusal

ARCHIVE = b"PK\x03\x04"
"""How the files of torch begin."""
_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2).removeprefix(pickle.PROTO + b"\2")
_OTHER_ORDER = "it was written on a machine of the other byte order"


def is_legacy(beginning: bytes) -> bool:
    """Whether a file that begins so is one of torch before 1.6: with the pickle, of any protocol, of its number."""
    return beginning.startswith(pickle.PROTO) and _MAGIC in beginning[:24]


def read_torch(path: Path, legacy: bool) -> Any:
    """The contents of a file of torch.save, on the CPU; no code it might hold is run.

    Args:
        path: The file.
        legacy: Whether it is of torch before 1.6: see :func:`is_legacy`.

    Raises:
        pickle.UnpicklingError: It holds more than tensors, plain values and the objects of :data:`_HARMLESS`.
        ValueError, RuntimeError, KeyError, zipfile.BadZipFile: It is damaged.
    """
    if not legacy:
        _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols that torch may not know in full
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # objects that torch does not know
        return _read_legacy(path) if legacy else _read_archive(path)


def _check_archive(path: Path) -> None:
    """Refuses damage, which torch does not look for, and parts that are larger than the file."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("a compressed archive, which torch.save does not write")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError("an archive whose parts are larger than itself")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")


@dataclass
class _Storage:
    """Numbers that tensors are views of."""

    raw: Tensor
    """uint8 [bytes]."""
    dtype: torch.dtype


@dataclass
class _Storages:
    """The storages of a file by their keys."""

    fetch: Callable[[str, int], Tensor]
    """The raw numbers of a key, uint8, given how many bytes they should be."""
    known: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, pid: Any) -> _Storage:
        """What a persistent id stands for: ``storage``, type, key, device, numbers, and in old files a part of them."""
        kind, stored, key, _, count, *view = pid
        dtype = _STORAGES.get(stored.name) if isinstance(stored, Known) else None
        if kind != "storage" or dtype is None or type(key) is not str or type(count) is not int or count < 0:
            raise refusal("a storage of an unknown kind")
        if key not in self.known:
            self.known[key] = self.fetch(key, count * dtype.itemsize)
        raw = self.known[key]
        if view and view[0] is not None:
            _, start, length = view[0]
            raw = raw[start * dtype.itemsize : (start + length) * dtype.itemsize]
        return _Storage(raw, dtype)


def _read_archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = name.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError(_OTHER_ORDER)

        def fetch(key: str, _: int) -> Tensor:
            return _bytes(archive.read(f"{folder}data/{key}"))

        with archive.open(name) as file:
            return read_pickle(file, _NAMES, _Storages(fetch))


def _read_legacy(path: Path) -> Any:
    """Magic number, version, machine, contents and keys as pickles, then the numbers of each key, counted."""
    size = path.stat().st_size
    with path.open("rb") as file:
        _, _, machine = (read_pickle(file, {}) for _ in range(3))
        if not machine["little_endian"]:
            raise ValueError(_OTHER_ORDER)
        allocated = 0

        def fetch(_: str, length: int) -> Tensor:
            nonlocal allocated
            allocated += length
            if allocated > size:
                raise ValueError("more numbers than the file has")
            return torch.empty(length, dtype=torch.uint8)

        storages = _Storages(fetch)
        content = read_pickle(file, _NAMES, storages)
        for key in read_pickle(file, {}):
            _fill(storages.known[key], file)
    return content


def _fill(raw: Tensor, file: IO[bytes]) -> None:
    file.read(8)  # how many numbers follow
    data = file.read(len(raw))
    if len(data) < len(raw):
        raise ValueError("it is cut off")
    raw.copy_(_bytes(data))


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage; as_strided checks that it stays inside."""
    if not isinstance(storage, _Storage):
        raise refusal("a tensor of an unknown kind")
    return storage.raw.view(storage.dtype).as_strided(size, stride, offset)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _size(numbers: Any) -> tuple[Any, ...]:
    return tuple(numbers)


def _inert(*_: Any) -> Inert:
    return Inert()


def _attribute(owner: Any, name: Any) -> Inert:
    """An attribute of a harmless class, which mmengine's history names its statistics by."""
    if not isinstance(owner, Known) or owner.name != _HISTORY or type(name) is not str:
        raise refusal("builtins.getattr")
    return Inert()


_STORAGES = {
    f"torch.{name}Storage": getattr(torch, dtype)
    for name, dtype in {
        "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
        "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    }.items()
}  # fmt: skip
_HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_HARMLESS: Table = {
    **SCALARS,
    _HISTORY: _inert,
    **{f"{builtins}.getattr": _attribute for builtins in ("builtins", "__builtin__")},
    "torch.device": _inert,
}
"""What training scripts leave beside tensors; nothing of it is kept."""
_NAMES: Table = {
    **ARRAYS,
    **dict.fromkeys(_STORAGES),
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    **_HARMLESS,
}
