"""ldie_ext.coco.mask against pycocotools.mask: the same bytes, the same arrays, and errors instead of wild reads."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as pycoco

from ldie_ext.coco import mask

SHAPES = [(1, 1), (1, 9), (9, 1), (13, 17), (64, 48), (480, 640)]


def masks_of(shape: tuple[int, int]) -> list[np.ndarray]:
    """Empty, full, noisy, blocky masks."""
    generator = np.random.default_rng(0)
    noise = generator.random(shape)
    block = np.zeros(shape, np.uint8)
    block[shape[0] // 3 : shape[0] // 2 + 1, shape[1] // 4 :] = 1
    return [np.zeros(shape, np.uint8), np.ones(shape, np.uint8), (noise < 0.5).astype(np.uint8), block,
            (noise < 0.01).astype(np.uint8), (noise < 0.99).astype(np.uint8)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_same_bytes_both_ways(shape: tuple[int, int]) -> None:
    for single in masks_of(shape):
        expected = pycoco.encode(np.asfortranarray(single))
        assert mask.encode(single) == expected
        assert mask.encode(single.astype(bool)) == expected
        decoded = mask.decode(expected)
        assert decoded.flags.f_contiguous
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, pycoco.decode(expected))


def test_stacks_match_single_calls() -> None:
    stack = np.stack(masks_of((13, 17)), axis=-1)
    rles = mask.encode(stack)
    assert rles == pycoco.encode(np.asfortranarray(stack))
    np.testing.assert_array_equal(mask.decode(rles), stack)
    assert mask.encode(stack[:, :, :0]) == []
    assert mask.decode([]).shape == (0, 0, 0)


def test_text_counts() -> None:
    rle = mask.encode(masks_of((13, 17))[2])
    text = {"size": rle["size"], "counts": rle["counts"].decode()}
    np.testing.assert_array_equal(mask.decode(text), mask.decode(rle))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"\x01", "malformed RLE counts at character 0"),
        (b"1\xff", "malformed"),
        (b"o", "malformed RLE counts at character 1"),  # the last group promises another
        (b"oooooooo0", "malformed"),
        (b"1", "add up to 1, the mask has 4"),
        (b"5", "do not fit the mask"),
        (b"O", "do not fit the mask: run 0 is -1"),
        (b"", "add up to 0"),
    ],
)
def test_malformed_counts(counts: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask.decode({"size": [2, 2], "counts": counts})


def test_random_bytes_never_crash() -> None:
    generator = np.random.default_rng(1)
    for _ in range(2000):
        counts = generator.integers(40, 120, generator.integers(0, 12), dtype=np.uint8).tobytes()
        try:
            decoded = mask.decode({"size": [7, 5], "counts": counts})
        except ValueError:
            continue
        assert decoded.shape == (7, 5)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"masks must be uint8 or bool .* got float64 \[2, 2\]"):
        mask.encode(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="masks must be"):
        mask.encode(np.zeros(4, np.uint8))
    rle = mask.encode(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="sizes must agree"):
        mask.decode([rle, {"size": [2, 3], "counts": b"6"}])
    with pytest.raises(ValueError, match="both at least 0"):
        mask.decode({"size": [-1, 2], "counts": b""})
