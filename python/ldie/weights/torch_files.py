# SPDX-License-Identifier: Apache-2.0
"""What torch.save wrote, read for its tensors alone.

``torch.load(weights_only=True)`` would run no code either, but refuses files for harmless objects beside the tensors,
builds whatever size a few bytes ask for (``bytearray(2**40)``), and passes over checksums.
"""

from __future__ import annotations

import io
import pickle
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


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses parts that are larger than the file."""
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("a compressed archive, which torch.save does not write")
    if sum(part.file_size for part in parts) > size:
        raise ValueError("an archive whose parts are larger than itself")


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


def read_archive(path: Path) -> Any:
    """The contents of a file of torch.save, on the CPU, of which only tensors and plain values are kept.

    Raises:
        pickle.UnpicklingError: It holds what no weights need.
        Exception: It is damaged; checksums are looked at.
    """
    with zipfile.ZipFile(path) as archive:
        _check_sizes(archive, path.stat().st_size)
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("an archive that torch.save did not write")
        folder = names[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError(_OTHER_ORDER)

        def fetch(key: str, _: int) -> Tensor:
            return _bytes(archive.read(f"{folder}data/{key}"))

        return read_pickle(io.BytesIO(archive.read(names[0])), _NAMES, _Storages(fetch))


def read_legacy(path: Path) -> Any:
    """The same for a file of torch before 1.6, which has no checksums.

    Magic number, version, machine, contents and keys are pickles, then the numbers of each key follow, counted.
    """
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
        keys = read_pickle(file, {})
        if any(type(key) is not str for key in keys) or set(keys) != set(storages.known):
            raise ValueError("other numbers follow than those of its tensors")
        for key in keys:
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


def _rebuild_typed(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, kind: Any, *___: Any) -> Tensor:
    """Likewise of a storage of bytes, which is how the rarer types are kept."""
    dtype = _TYPES.get(kind.name) if isinstance(kind, Known) else None
    if not isinstance(storage, _Storage) or dtype is None:
        raise refusal("a tensor of an unknown type")
    return _rebuild(_Storage(storage.raw, dtype), offset, size, stride)


def _rebuild_derived(rebuild: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor of a class of its own, or with attributes: the tensor alone."""
    if not isinstance(rebuild, Known) or rebuild.make is None:
        raise refusal("a tensor of an unknown class")
    return rebuild.make(*arguments)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _inert(*_: Any) -> Inert:
    return Inert()


def _attribute(owner: Any, name: Any) -> Inert:
    """An attribute of a harmless class, which mmengine's history names its statistics by."""
    if not isinstance(owner, Known) or owner.name != _HISTORY or type(name) is not str:
        raise refusal("builtins.getattr")
    return Inert()


_STORAGES = {
    f"torch.{device}{name}Storage": getattr(torch, dtype)
    for device in ("", "cuda.")
    for name, dtype in {
        "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
        "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "storage.Untyped": "uint8",
        "ComplexFloat": "complex64", "ComplexDouble": "complex128",
    }.items()
}  # fmt: skip
_TYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_BUILTINS = ("builtins", "__builtin__")
_HARMLESS: Table = {
    **SCALARS,
    _HISTORY: _inert,
    **{f"{builtins}.getattr": _attribute for builtins in _BUILTINS},
    **{f"{builtins}.{name}": _inert for builtins in _BUILTINS for name in ("set", "complex", "bytearray", "bytes")},
    "collections.Counter": _inert,
    "torch._utils._rebuild_sparse_tensor": _inert,
    "torch._utils._rebuild_meta_tensor_no_storage": _inert,
    "torch.Size": _inert,
    "torch.device": _inert,
    "torch.serialization._get_layout": _inert,
}
"""What training scripts leave beside tensors, and tensors that no network can take; nothing of it is kept."""
_NAMES: Table = {
    **ARRAYS,
    **dict.fromkeys(_STORAGES),
    **dict.fromkeys(_TYPES),
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_derived,
    "torch.Tensor": None,
    "torch.nn.parameter.Parameter": None,
    **_HARMLESS,
}
