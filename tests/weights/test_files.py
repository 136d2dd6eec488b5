"""Weights in every kind of file that people have them in, and what such a file may hold beside them."""

from __future__ import annotations

import pickle
import struct
from argparse import Namespace
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.errors import CheckpointError
from ldie.weights import read_weights
from safetensors.torch import save_file
from weights.history import history_buffer

TENSORS = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 4),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "part": torch.arange(20.0)[4:9],
    "half": torch.tensor([1.5, -2]).half(),
    "bfloat16": torch.tensor([1.5, -2]).bfloat16(),
    "count": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "empty": torch.empty(0, 3),
}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def as_module(values: dict[str, torch.Tensor]) -> OrderedDict:
    """As ``state_dict`` gives it: ordered, with an attribute of its own."""
    ordered = OrderedDict(values)
    ordered._metadata = OrderedDict({"": {"version": 1}})
    return ordered


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_safetensors_by_any_name(name, tmp_path):
    save_file({key: value.contiguous() for key, value in TENSORS.items()}, tmp_path / name)
    assert_equal(read_weights(tmp_path / name), TENSORS)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_protocols_of_torch_s_pickles(legacy, protocol, tmp_path, recwarn):
    """torch itself warns of others than 2, and takes only some files of them."""
    path = tmp_path / "w.pth"
    torch.save({"model": TENSORS}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    assert_equal(read_weights(path), TENSORS)
    assert not recwarn.list


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["w.pth", "w"])
def test_files_of_torch(legacy, name, tmp_path):
    content = {"state_dict": as_module({f"module.{key}": value for key, value in TENSORS.items()}), "epoch": 3}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    assert_equal(read_weights(tmp_path / name), TENSORS)


RARE = {
    **{f"uint{bits}": torch.arange(3).to(getattr(torch, f"uint{bits}")) for bits in (16, 32, 64)},
    "float8": torch.tensor([1.5, -2]).to(torch.float8_e4m3fn),
    "complex": torch.tensor([1 + 2j]),
}


class Derived(torch.Tensor):
    """Pickled with its class."""


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_tensors_of_rarer_kinds(legacy, tmp_path):
    path = tmp_path / "w.pth"
    with_attribute, parameter = torch.ones(2), torch.nn.Parameter(torch.ones(3))
    with_attribute.note = parameter.note = "mine"
    content = RARE | {"attribute": with_attribute, "parameter": parameter}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_weights(path)
    assert found.keys() == content.keys()
    for name, value in found.items():
        assert value.dtype == content[name].dtype and type(value) is torch.Tensor, name
        assert torch.equal(value.view(torch.uint8), content[name].detach().view(torch.uint8)), name
    torch.save({"derived": torch.ones(2).as_subclass(Derived)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"they could run code: \S*Derived"):
        read_weights(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_harmless_objects_beside_tensors_are_passed_over(legacy, tmp_path):
    """Numbers of NumPy, and the history that mmengine keeps in its checkpoints; torch refuses such files."""
    shared = torch.arange(10.0)
    tensors = TENSORS | {"first": shared[:4], "last": shared[6:], "weight": torch.nn.Parameter(torch.ones(2))}
    content = {
        "meta": {"loss": np.float64(0.5), "steps": np.int64(3), "seed": np.arange(3), "classes": ("cat", "dog")},
        "scheduler": {"milestones": Counter([8, 11]), "seen": {1, 2}, "kind": torch.float16},
        "device": torch.device("cpu"),
        "shape": torch.Size([2, 3]),
        "message_hub": {"log_scalars": OrderedDict(loss=history_buffer())},
        "state_dict": as_module(tensors),
    }
    path = tmp_path / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = read_weights(path)
    assert_equal(found, tensors)
    assert found["first"].untyped_storage().data_ptr() == found["last"].untyped_storage().data_ptr()


ARRAYS = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big end first": np.arange(3, dtype=">f4"),
    "half": np.ones(2, dtype=np.float16),
    "count": np.array(7, dtype=np.int64),
    "byte": np.arange(3, dtype=np.uint8),
    "flag": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_arrays(protocol, tmp_path):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": ARRAYS, "__author__": "someone"}, protocol))
    expected = {name: torch.from_numpy(value.astype(value.dtype.newbyteorder("="))) for name, value in ARRAYS.items()}
    assert_equal(read_weights(path), expected)


def test_the_names_of_numpy_1_and_2(tmp_path):
    path = tmp_path / "w.pkl"
    content = pickle.dumps({"weight": ARRAYS["weight"]}, 2)
    assert content.count(b"numpy._core.multiarray\n") + content.count(b"numpy.core.multiarray\n") == 1
    for core in (b"core", b"_core"):
        path.write_bytes(content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", b"numpy." + core))
        assert torch.equal(read_weights(path)["weight"], torch.from_numpy(ARRAYS["weight"]))


def test_a_pickle_of_python_2(tmp_path):
    """Its arrays hold their numbers as byte strings, above 127 too."""
    numbers = np.array([[1.5, -2, 3e30], [np.pi, 0, 1e-9]], dtype="<f4")
    data = numbers.tobytes()
    assert max(data) > 127
    path = tmp_path / "w.pkl"
    path.write_bytes(
        b"\x80\x02}U\x05model}U\x01w"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", len(data)) + data + b"tbss."
    )
    assert torch.equal(read_weights(path)["w"], torch.from_numpy(numbers))


def test_a_damaged_archive_of_torch_is_seen(tmp_path):
    """torch writes checksums, and does not read them itself."""
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.full((64,), 3.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<f", 3.0)) + 128] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="Bad CRC-32 for file 'w/data/0'"):
        read_weights(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("objects", [False, True], ids=["tensors", "objects"])
def test_files_that_are_cut_off(legacy, objects, tmp_path):
    path = tmp_path / "w.pth"
    content = {"weight": torch.ones(400)} | ({"loss": np.float64(1)} if objects else {})
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for part in (0.02, 0.3, 0.6, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(CheckpointError, match="no readable weights") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_pickles_that_are_cut_off(tmp_path):
    path = tmp_path / "w.pkl"
    for protocol in (2, 4, 5):
        whole = pickle.dumps({"weight": np.ones(400)}, protocol)
        for length in (3, 40, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match="no readable weights"):
                read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected weights by name, got list"),
        ({"epoch": 3}, "holds no named tensors"),
        ({3: np.ones(2)}, "holds no named tensors"),
        ({"args": Namespace(lr=1)}, r"they could run code: argparse\.Namespace"),
        ({"names": np.array(["a"])}, r"they could run code: an array of U1"),
        ({"objects": np.array([{}], dtype=object)}, r"they could run code: an array of O8"),
        ({"rows": np.zeros(2, dtype=[("x", "f4")])}, r"they could run code: an array of "),
        ({("a", "b"): np.ones(2)}, r"they could run code: a dict with a key of type tuple"),
    ],
)
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_other_contents_are_named(content, message, kind, tmp_path):
    path = tmp_path / "w.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, 2))
    elif isinstance(content, dict):
        torch.save(content | {"loss": np.float64(1)}, path)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_safetensors_name_means_safetensors(tmp_path):
    path = Path(tmp_path / "w.safetensors")
    torch.save(TENSORS, path)
    with pytest.raises(CheckpointError, match="a zip archive"):
        read_weights(path)
