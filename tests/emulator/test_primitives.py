"""csrc/core/device_sort.cuh and csrc/core/reduce.cuh under the emulator, against NumPy."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from emulator.harness import planted


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("size", "key_bits"), [(32, 32), (32, 3), (64, 64), (64, 35)])
def test_sort_pairs_is_stable(size: int, key_bits: int, descending: bool, count: int) -> None:
    rng = np.random.default_rng(0)
    key_type, value_type = (np.uint32, np.int32) if size == 32 else (np.uint64, np.int64)
    keys = rng.integers(0, 8, count).astype(key_type) << key_type(key_bits - 3)
    values = np.arange(count, dtype=value_type)
    sorted_keys, sorted_values = np.empty_like(keys), np.empty_like(values)
    sort = getattr(planted("plain").library, f"sort_{size}")
    sort(*map(pointer, (keys, sorted_keys, values, sorted_values)), ctypes.c_int64(count), int(descending), key_bits)
    signed = keys.astype(np.float64)
    order = np.argsort(-signed if descending else signed, kind="stable")
    assert (sorted_keys == keys[order]).all() and (sorted_values == values[order]).all()


def test_prefix_sums() -> None:
    values = np.random.default_rng(0).integers(-(2**40), 2**40, 300)
    sums = np.empty_like(values)
    planted("plain").library.prefix_sums(*map(pointer, (values, sums)), ctypes.c_int64(300))
    assert (sums == np.cumsum(values)).all()


@pytest.mark.parametrize("mode", ["plain", "race"])
@pytest.mark.parametrize("threads", [32, 256, 1024])
def test_block_reductions(mode: str, threads: int) -> None:
    values = np.random.default_rng(0).integers(-100, 100, (2, threads)).astype(np.float64)
    out = np.empty_like(values)
    assert planted(mode).library.block_sums(pointer(values), pointer(out), threads) is None
    expected = values.sum(1) + 1e3 * values.max(1) + 1e6 * values.min(1)
    assert (out == expected[:, None]).all()
