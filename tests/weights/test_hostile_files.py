"""Files that would run code, take all memory or never end: each is refused in one line, and nothing of it happened."""

from __future__ import annotations

import collections
import copyreg
import importlib
import io
import operator
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.errors import CheckpointError
from ldie.weights import arrays, pickles, read_weights, torch_files

CODE = "__import__('pathlib').Path('touched').touch()"


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        """What is called in turn must look as if it could be."""


def inner_torch() -> bytes:
    file = io.BytesIO()
    torch.save(Call(os.system, "touch touched"), file)
    return file.getvalue()


ATTACKS = {
    "os.system": lambda: Call(os.system, "touch touched"),
    "eval": lambda: Call(eval, CODE),
    "exec": lambda: Call(exec, CODE),
    "subprocess": lambda: Call(subprocess.Popen, ["touch", "touched"]),
    "import": lambda: Call(importlib.import_module, "antigravity"),
    "getattr": lambda: Call(Call(getattr, module("builtins"), "eval"), CODE),
    "attrgetter": lambda: Call(operator.attrgetter("system"), module("os")),
    "methodcaller": lambda: Call(operator.methodcaller("touch"), Path("touched")),
    "Path.touch": lambda: Call(Path.touch, Path("touched")),
    "open": lambda: Call(open, "touched", "w"),
    "copyreg": lambda: Call(copyreg._reconstructor, Call, object, None),
    "copyreg extension": lambda: Call(copyreg.add_extension, "os", "system", 7),
    "nested pickle": lambda: Call(pickle.loads, pickle.dumps(Call(os.system, "touch touched"))),
    "nested file of torch": lambda: Call(torch.storage._load_from_bytes, inner_torch()),
    "torch.load": lambda: Call(torch.load, "touched"),
    "numpy.load": lambda: Call(np.load, "touched", None, True),
    "numpy.memmap": lambda: Call(np.memmap, "touched", "u1", "w+", 0, (4,)),
    "numpy's own call": lambda: Call(np.apply_along_axis, eval, 0, [CODE]),
    "a factory": lambda: collections.defaultdict(subprocess.Popen),
    "an array of objects": lambda: np.array([Call(os.system, "touch touched")], dtype=object),
}


def module(name: str) -> Call:
    return Call(importlib.import_module, name)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder in which an attack would leave a file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "touched"


def refused(path: Path, match: str) -> str:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", 0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_is_refused_and_nothing_ran(attack, kind, place):
    """Beside weights that are in order, at any protocol."""
    path, content = place.with_name("w.pth"), {"attack": ATTACKS[attack]()}
    extensions = dict(copyreg._extension_registry)
    if isinstance(kind, int):
        content["weight"] = np.ones(2)
        path.write_bytes(pickle.dumps({"model": content}, kind))
    else:
        content["weight"] = torch.ones(2)
        torch.save({"model": content}, path, _use_new_zipfile_serialization=kind == "zip")
    refused(path, "nor a pickle of protocol 2 to 5" if kind in (0, 1) else "Python objects besides tensors, and they")
    assert not place.exists() and copyreg._extension_registry == extensions and "antigravity" not in sys.modules


def test_the_attacks_are_real(place):
    """A common reader would run them."""
    for attack in ("os.system", "eval", "exec", "getattr", "methodcaller", "nested pickle", "an array of objects"):
        pickle.loads(pickle.dumps(ATTACKS[attack]()))
        assert place.exists(), attack
        place.unlink()


def assembled(body: bytes) -> bytes:
    """A pickle of weights, and of what ``body`` leaves on the stack beside them."""
    return b"\x80\x04}(\x8c\x06attack" + body + b"\x8c\x06weightK\x01u."


INSTRUCTIONS = {
    "INST": b"(S'touch touched'\nios\nsystem\n",
    "OBJ": b"(cos\nsystem\nS'touch touched'\no",
    "NEWOBJ": b"csubprocess\nPopen\n](\x8c\x05touch\x8c\x07touchede\x85\x81",
    "NEWOBJ_EX": b"csubprocess\nPopen\n](\x8c\x05touch\x8c\x07touchede\x85}\x92",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93\x8c\x0dtouch touched\x85R",
    "dotted name": b"\x8c\x05numpy\x8c\x10ndarray.__init__\x93)R",
    "EXT1": b"\x82\x01)R",
    "PERSID": b"Pos.system\n",
    "BINPERSID": b"K\x01Q",
    "NEXT_BUFFER": b"\x97",
    "call of text": b"\x8c\x09os.system)R",
    "call of a name without a call": b"cnumpy\nndarray\n)R",
    "call of a made value": b"cnumpy\ndtype\n\x8c\x02f4\x85R)R",
    "state of a name": b"cnumpy\ndtype\n}\x8c\x04makecnumpy\nndarray\nsb",
    "state with slots": b"cnumpy\ndtype\nN}\x8c\x04makeNs\x86b",
    "state of a type": b"cnumpy\ndtype\n\x8c\x02O8\x85R",
    "records": b"cnumpy\ndtype\n\x8c\x02f4\x85R(K\x03\x8c\x01<N\x8c\x01x\x85}NNK\x3ftb",
    "array of another class": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R",
    "other encoding": b"c_codecs\nencode\n\x8c\x02aa\x8c\x03hex\x86R",
    "bytes that are filled": b"\x96" + bytes(8) + b"(K\x01e",
    "name that is filled": b"cnumpy\nndarray\nK\x01a",
    "entries of a list": b"]K\x00K\x01s",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instructions_that_only_an_attacker_writes(name, place):
    path = place.with_name("w.pkl")
    path.write_bytes(assembled(INSTRUCTIONS[name]))
    refused(path, r"they could run code: ")
    assert not place.exists()


def test_the_assembled_pickle_is_read_without_them(place):
    path = place.with_name("w.pkl")
    path.write_bytes(assembled(b"N"))
    refused(path, "holds no named tensors")


DIM = b"\x8a\x06" + (2**40).to_bytes(6, "little")
DEEP = b"Nq\x01" + b"h\x01\x86q\x01" * 60
"""Tuples that hold the one before twice: short to write, endless to print or to hash."""
BOMBS = {
    "endless name of a type": (b"cnumpy\ndtype\n" + DEEP + b"\x85R", "an array of an unknown type"),
    "endless name of an encoding": (b"c_codecs\nencode\n\x8c\x01a" + DEEP + b"\x86R", "in another encoding"),
    "place in a table": (b"Nr\xff\xff\xff\x7f0K\x01", "holds no named tensors"),
    "bytes": (b"\x8e" + (2**40).to_bytes(8, "little"), "it is cut off"),
    "bytearray": (b"\x96" + (2**40).to_bytes(8, "little"), "it is cut off"),
    "text": (b"\x8d" + (2**40).to_bytes(8, "little"), "it is cut off"),
    "number": (b"\x8b\xff\xff\xff\x7f", "it is cut off"),
    "frame": (b"\x95" + (2**40).to_bytes(8, "little"), "it is cut off"),
    "key that takes forever to hash": (b"}" + DEEP + b"Ns", "a key of type tuple"),
    "array": (
        b"cnumpy.core.numeric\n_frombuffer\n(C\x04aaaacnumpy\ndtype\n\x8c\x02f4\x85R" + DIM + b"\x85\x8c\x01CtR",
        r"an array of shape \[1099511627776\] with 1 numbers",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little(name, place):
    body, message = BOMBS[name]
    path = place.with_name("w.pkl")
    path.write_bytes(assembled(body))
    tracemalloc.start()
    refused(path, message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


TEXT = b"T" + (10_000).to_bytes(4, "little") + b"a" * 10_000 + b"q\x01"
LIST = b"](" + b"K\x01" * 5000 + b"eq\x01"
REPEATED = {
    "arrays of the same data": (TEXT, b"cnumpy.core.numeric\n_frombuffer\n(h\x01h\x02h\x03\x8c\x01CtR0"),
    "states of the same data": (TEXT, b"h\x04(K\x01h\x03h\x02\x89h\x01tb0"),
    "bytes of the same text": (TEXT, b"c_codecs\nencode\nh\x01\x8c\x06latin1\x86R0"),
    "mappings of the same list": (LIST, b"h\x05h\x01\x85R0"),
    "calls with the same list": (LIST, b"ctorch\nSize\nh\x01\x85R0"),
}


@pytest.mark.parametrize("name", REPEATED)
def test_the_same_value_cannot_be_used_without_end(name, place, monkeypatch):
    """Each time it would take its memory or its time anew."""
    monkeypatch.setattr(pickles, "MOST_STEPS", 1000)
    value, use = REPEATED[name]
    parts = b"cnumpy\ndtype\n\x8c\x02u1\x85Rq\x020M\x10\x27\x85q\x030ccollections\nOrderedDict\nq\x050"
    parts += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87Rq\x040"
    path = place.with_name("w.pkl")
    path.write_bytes(assembled(value + b"0" + parts + use * 200 + b"N"))
    refused(
        path, "more is made of its values than it has|a list with a key|they could run code: torch.Size|cannot unpack"
    )


def test_a_call_for_any_size(place):
    """torch.load(weights_only=True) makes it."""
    path = place.with_name("w.pth")
    torch.save({"weight": torch.ones(2), "attack": Call(bytearray, 2**40)}, path)
    assert list(read_weights(path)) == ["weight"]


def test_steps_are_counted(place, monkeypatch):
    path = place.with_name("w.pkl")
    path.write_bytes(assembled(b"]" + b"](" * 3000 + b"e" * 3000))
    monkeypatch.setattr(pickles._Steps, "left", 1000)
    refused(path, "more than 5000000 values")


def test_deep_nesting_is_harmless(place):
    path = place.with_name("w.pkl")
    path.write_bytes(assembled(b"]" * 20_000 + b"a" * 19_999))
    refused(path, "holds no named tensors")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """With bytes changed, lost, inserted and repeated."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 6))):
        start, count = rng.randrange(len(changed)), rng.randrange(1, 9)
        other = rng.randrange(len(changed))
        changed[start : start + rng.choice((0, count))] = rng.choice(
            (b"", rng.randbytes(count), changed[other : other + count])
        )
        changed = changed or bytearray(b".")
    return bytes(changed)


@pytest.mark.parametrize("kind", ["zip", "legacy", 2, 4, 5])
def test_changed_bytes_end_in_one_line_or_in_tensors(kind, place):
    """Also inside an archive whose checksums fit."""
    path, rng = place.with_name("w.pth"), random.Random(0)
    if isinstance(kind, int):
        path.write_bytes(pickle.dumps({"model": {"weight": np.ones(3)}}, kind))
    else:
        content = {"model": {"weight": torch.ones(3)}, "loss": np.float64(1)}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for _ in range(150):
        path.write_bytes(whole if kind == "zip" else mutated(whole, rng))
        if kind == "zip":
            repacked(path, lambda name, data: mutated(data, rng) if name.endswith("data.pkl") else data)
        try:
            found = read_weights(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert all(value.numel() < 1000 for value in found.values())


def with_objects(path: Path, **tensors: torch.Tensor) -> bytes:
    """A file of torch that torch itself refuses for a harmless object."""
    torch.save({"model": tensors, "loss": np.float64(1)}, path)
    return path.read_bytes()


def repacked(path: Path, change, compression: int = zipfile.ZIP_STORED) -> None:
    """The archive with its parts changed, with checksums that fit."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))


@pytest.mark.parametrize("objects", [False, True], ids=["tensors", "objects"])
def test_tensors_that_are_larger_than_their_numbers(objects, place):
    path = place.with_name("w.pth")
    torch.save({"model": {"weight": torch.ones(3)}} | ({"loss": np.float64(1)} if objects else {}), path)
    size, stride = b"K\x03\x85", b"K\x01\x85"

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return data
        assert size in data and stride in data
        return data.replace(size, DIM + b"\x85")

    repacked(path, change)
    refused(path, "no readable weights")


@pytest.mark.parametrize("objects", [False, True], ids=["tensors", "objects"])
def test_a_tensor_without_numbers_of_its_own(objects, place):
    """A stride of zero makes any size of one number."""
    path = place.with_name("w.pth")
    torch.save({"weight": torch.ones(1).expand(1000)} | ({"loss": np.float64(1)} if objects else {}), path)
    refused(path, r"weight of shape \[1000\] is larger than its numbers")


def test_tensors_without_numbers_are_none(place):
    """They are read past beside others."""
    path = place.with_name("w.pth")
    torch.save({"meta": torch.ones(3, device="meta"), "sparse": torch.ones(3).to_sparse(), "b": torch.ones(1)}, path)
    assert list(read_weights(path)) == ["b"]


def test_a_compressed_archive(place):
    path = place.with_name("w.pth")
    with_objects(path, weight=torch.zeros(100_000))
    repacked(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    refused(path, "a compressed archive")


def test_an_archive_whose_parts_overlap(place):
    """Many names for the same bytes."""
    path = place.with_name("w.pth")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data/0", bytes(100_000))
        info = archive.infolist()[0]
        for i in range(1, 100):
            other = zipfile.ZipInfo(f"w/data/{i}")
            for field in ("header_offset", "file_size", "compress_size", "CRC", "create_system"):
                setattr(other, field, getattr(info, field))
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
    refused(path, "parts are larger than itself")


@pytest.mark.parametrize("objects", [False, True], ids=["tensors", "objects"])
def test_a_legacy_file_that_claims_more_numbers_than_it_has(objects, place):
    path = place.with_name("w.pth")
    content = {"model": {"weight": torch.ones(3)}} | ({"loss": np.float64(1)} if objects else {})
    torch.save(content, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    count = b"cpu" + data[data.index(b"cpu") + 3 :][:2] + b"K\x03N"
    assert count in data
    path.write_bytes(data.replace(count, count[:-3] + b"\x8a\x05" + (2**33).to_bytes(5, "little") + b"N"))
    refused(path, "no readable weights")


def test_a_legacy_file_whose_keys_take_forever_to_hash(place):
    path = place.with_name("w.pth")
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"weight": 1}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + b"\x80\x02]" + DEEP + b"a.")
    refused(path, "other numbers follow than those of its tensors")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_of_torch(place):
    path = place.with_name("w.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    refused(path, "no readable weights")


def test_nothing_is_left_open_to_the_file_s_names():
    """All that a name can lead to is a function of this package, or nothing."""
    for table in (arrays.ARRAYS, torch_files._NAMES):
        for name, make in table.items():
            assert make is None or make.__module__.startswith("ldie.weights."), name
