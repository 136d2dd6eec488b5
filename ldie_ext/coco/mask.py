"""COCO run-length masks: the calls of ``pycocotools.mask``, byte for byte the same results.

An RLE object is ``{"size": [height, width], "counts": bytes}``. This version has :func:`encode` and :func:`decode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, overload

import numpy as np
import numpy.typing as npt

from ldie_ext import _host

__all__ = ["RLE", "decode", "encode", "from_runs", "runs"]


class RLE(TypedDict):
    """One mask: ``size`` is [height, width], ``counts`` COCO's run-length string (bytes or str)."""

    size: list[int]
    counts: bytes | str


def encode(masks: npt.NDArray[np.uint8]) -> RLE | list[RLE]:
    """Encodes binary masks as COCO run-length strings.

    Args:
        masks: uint8 (or bool) [H, W] or [H, W, N]; non-zero is foreground. COCO reads masks column by column, so
            Fortran order saves a copy.

    Returns:
        One RLE object for [H, W], a list of N for [H, W, N].

    Raises:
        ValueError: ``masks`` is not a uint8 or bool array of two or three dimensions.

    Example:
        >>> encode(np.array([[0, 1], [1, 1]], dtype=np.uint8))
        {'size': [2, 2], 'counts': b'13'}
    """
    if masks.dtype not in (np.uint8, np.bool_) or masks.ndim not in (2, 3):
        raise ValueError(f"masks must be uint8 or bool [H, W] or [H, W, N], got {masks.dtype} {list(masks.shape)}")
    stack = np.asfortranarray(masks[..., None] if masks.ndim == 2 else masks, dtype=np.uint8)
    size = [int(side) for side in masks.shape[:2]]
    rles: list[RLE] = [{"size": list(size), "counts": counts} for counts in _host.encode_masks(stack)]
    return rles[0] if masks.ndim == 2 else rles


@overload
def decode(rles: RLE) -> npt.NDArray[np.uint8]: ...
@overload
def decode(rles: Sequence[RLE]) -> npt.NDArray[np.uint8]: ...
def decode(rles: Any) -> npt.NDArray[np.uint8]:
    """Decodes COCO run-length strings.

    Args:
        rles: one RLE object, or a sequence of them that share one size.

    Returns:
        uint8 of 0 and 1 in Fortran order: [H, W] for one object, [H, W, N] for a sequence ([0, 0, 0] when empty).

    Raises:
        ValueError: a string is malformed, its runs do not add up to the size, or the sizes differ.

    Example:
        >>> decode({"size": [2, 2], "counts": b"13"})
        array([[0, 1],
               [1, 1]], dtype=uint8)
    """
    objects: list[Any] = [rles] if isinstance(rles, dict) else list(rles)
    if not objects:
        return np.zeros((0, 0, 0), dtype=np.uint8, order="F")
    height, width = objects[0]["size"]
    for index, rle in enumerate(objects):
        if list(rle["size"]) != [height, width]:
            raise ValueError(f"RLE {index} has size {rle['size']}, the first has [{height}, {width}]: sizes must agree")
    masks: npt.NDArray[np.uint8] = _host.decode_masks([rle["counts"] for rle in objects], height, width)
    return masks[:, :, 0] if isinstance(rles, dict) else masks


def runs(
    rles: Sequence[Mapping[str, Any]],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Run lengths as numbers, of many masks at once.

    Args:
        rles: RLE objects, of any sizes; ``counts`` is a string, or the list of COCO's uncompressed form.

    Returns:
        counts int32 [R] of all masks, offsets int64 [N + 1] of each mask's counts, sizes int64 [N, 2].

    Raises:
        ValueError: an object is malformed; the message names it.

    Example:
        >>> runs([{"size": [2, 2], "counts": b"13"}, {"size": [1, 3], "counts": [3]}])
        (array([1, 3, 3], dtype=int32), array([0, 2, 3]), array([[2, 2],
               [1, 3]]))
    """
    sizes = np.array([_size(index, rle) for index, rle in enumerate(rles)], dtype=np.int64).reshape(-1, 2)
    counts, offsets = _host.decode_runs([_text(index, rle) for index, rle in enumerate(rles)], sizes)
    return counts, offsets, sizes


def from_runs(counts: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> list[RLE]:
    """The inverse of :func:`runs`.

    Raises:
        ValueError: runs are negative, do not add up to their mask's size, or offsets do not fit; names the mask.

    Example:
        >>> from_runs(*runs([{"size": [2, 2], "counts": b"13"}]))
        [{'size': [2, 2], 'counts': b'13'}]
    """
    texts = _host.encode_runs(counts, offsets, sizes)
    return [{"size": size, "counts": text} for size, text in zip(sizes.tolist(), texts)]


def _size(index: int, rle: Mapping[str, Any]) -> list[int]:
    size = rle.get("size")
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise ValueError(f"RLE {index}: size must be [height, width], got {size!r}")
    return list(size)


def _text(index: int, rle: Mapping[str, Any]) -> bytes | str:
    """The counts as COCO's string."""
    counts = rle.get("counts")
    if isinstance(counts, (bytes, str)):
        return counts
    if not isinstance(counts, list) or not all(isinstance(run, int) and 0 <= run < 2**31 for run in counts):
        raise ValueError(f"RLE {index}: counts must be a string or a list of run lengths, got {str(counts)[:60]}")
    size = np.array([[sum(counts), 1]], dtype=np.int64)
    return _host.encode_runs(np.array(counts, dtype=np.int32), np.array([0, len(counts)], dtype=np.int64), size)[0]
