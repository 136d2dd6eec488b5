"""COCO masks as run lengths: the calls of ``pycocotools.mask``, byte for byte the same results, on all cores.

An RLE object is ``{"size": [height, width], "counts": bytes}``; wherever one is taken, ``counts`` may also be str,
bytearray or a list of run lengths (COCO's uncompressed form), and sizes and run lengths may be floats without a
fraction, as json files hold them. Calls release the interpreter lock. What is malformed or of another type is a
ValueError that names the item; nothing reads or writes out of bounds, or needs more memory than the sizes and the input
itself ask for. What differs from pycocotools is listed in docs/coco_mask.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypedDict, overload

import numpy as np
import numpy.typing as npt

from ldie_ext import _host

__all__ = [
    "RLE",
    "area",
    "decode",
    "encode",
    "frPyObjects",
    "from_runs",
    "install",
    "iou",
    "merge",
    "rasterize",
    "runs",
    "set_num_threads",
    "toBbox",
    "uninstall",
]


class RLE(TypedDict):
    """One mask: ``size`` is [height, width], ``counts`` COCO's run-length string (bytes or str)."""

    size: list[int]
    counts: bytes | str


def set_num_threads(count: int) -> None:
    """Sets how many threads a call may use, at least 1; another count is a ValueError.

    The default is OMP_NUM_THREADS, or else the cores that the process may run on. Results do not depend on it.
    """
    _host.set_threads(_integer("count", count))


def encode(masks: npt.NDArray[np.uint8]) -> RLE | list[RLE]:
    """Encodes binary masks as COCO run-length strings.

    Args:
        masks: uint8 (or bool) [H, W] or [H, W, N]; non-zero is foreground. Masks that are each in column-major or
            row-major order, such as a transposed [N, H, W], are read where they are; others are copied.

    Returns:
        One RLE object for [H, W], a list of N for [H, W, N].

    Raises:
        ValueError: ``masks`` is not a uint8 or bool array of two or three dimensions.

    Example:
        >>> encode(np.array([[0, 1], [1, 1]], dtype=np.uint8))
        {'size': [2, 2], 'counts': b'13'}
    """
    masks = np.asarray(masks)
    if masks.dtype not in (np.uint8, np.bool_) or masks.ndim not in (2, 3):
        raise ValueError(f"masks must be uint8 or bool [H, W] or [H, W, N], got {masks.dtype} {list(masks.shape)}")
    stack = (masks[..., None] if masks.ndim == 2 else masks).view(np.uint8)
    rles = _host.encode_masks(stack)
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
    masks = _host.decode_masks(_listed("rles", rles))
    return masks[:, :, 0] if isinstance(rles, dict) else masks


def merge(rles: Sequence[RLE], intersect: bool = False) -> RLE:
    """The union of masks, or their intersection.

    Args:
        rles: RLE objects of one size. One comes back as it is; of none the size is [0, 0].
        intersect: intersection in place of union.

    Returns:
        One RLE object.

    Raises:
        ValueError: an object is malformed, or the sizes differ.

    Example:
        >>> merge([{"size": [2, 2], "counts": b"13"}, {"size": [2, 2], "counts": b"04"}])
        {'size': [2, 2], 'counts': b'04'}
    """
    return _host.merge_masks(_listed("rles", rles), bool(intersect))


def area(rles: Any) -> Any:
    """Pixels of each mask.

    Args:
        rles: one RLE object, or a sequence of N.

    Returns:
        uint32: a number for one object, [N] for a sequence.

    Raises:
        ValueError: an object is malformed.

    Example:
        >>> area([{"size": [2, 2], "counts": b"13"}])
        array([3], dtype=uint32)
    """
    pixels = _host.areas(_listed("rles", rles))
    return pixels[0] if isinstance(rles, dict) else pixels


def toBbox(rles: Any) -> npt.NDArray[np.float64]:
    """The tightest box around each mask.

    Args:
        rles: one RLE object, or a sequence of N.

    Returns:
        float64 x, y, width, height: [4] for one object, [N, 4] for a sequence. Zeros for an empty mask.

    Raises:
        ValueError: an object is malformed.

    Example:
        >>> toBbox({"size": [2, 2], "counts": b"31"})
        array([1., 1., 1., 1.])
    """
    boxes = _host.boxes(_listed("rles", rles))
    return boxes[0] if isinstance(rles, dict) else boxes


def iou(dt: Any, gt: Any, pyiscrowd: Any) -> Any:
    """Intersection over union of every detection with every ground truth, of masks or of boxes.

    Where a ground truth is a crowd, intersection over the detection's own area.

    Args:
        dt: sequence of M RLE objects; or M boxes x, y, width, height (array [M, 4], or sequence of boxes). Or one RLE
            object, or one box.
        gt: N of the same kind.
        pyiscrowd: N numbers, non-zero where the ground truth is a crowd; or one, for all of them.

    Returns:
        float64 [M, N] in Fortran order, or an empty list when there are no detections or no ground truths. -1 for masks
        of different sizes whose boxes overlap.

    Raises:
        ValueError: an object is malformed, the kinds differ, or ``pyiscrowd`` has not N numbers.

    Example:
        >>> iou([[0, 0, 2, 2]], [[1, 0, 2, 2], [0, 0, 4, 4]], [0, 1])
        array([[0.33333333, 1.        ]])
    """
    found, wanted = _operands("dt", dt), _operands("gt", gt)
    crowd = _crowd(pyiscrowd, len(wanted))
    if len(found) == 0 or len(wanted) == 0:
        return []
    if isinstance(found[0], Mapping) != isinstance(wanted[0], Mapping):
        raise ValueError("dt and gt must both be RLE objects, or both boxes")
    if isinstance(found[0], Mapping):
        return _host.mask_ious(found, wanted, crowd).T
    return _host.box_ious(_boxes("dt", found), _boxes("gt", wanted), crowd).T


def frPyObjects(pyobj: Any, h: int, w: int) -> Any:
    """RLE objects from what COCO's files hold.

    Args:
        pyobj: what it is, is told from its (first) item, as in pycocotools. Boxes x, y, width, height: array [N, 4] or
            list of lists of 4 numbers. Polygons x0, y0, x1, y1, ...: list of lists of more than 4 numbers. RLE objects,
            uncompressed or not: list of dicts. Or one box, one polygon, one RLE object.
        h: height of the image; an RLE object has its own.
        w: width of the image.

    Returns:
        A list of RLE objects, or one for a single object.

    Raises:
        ValueError: an object is malformed; the message names it.

    Example:
        >>> frPyObjects([[0, 0, 2, 0, 2, 1, 0, 1]], 2, 2)
        [{'size': [2, 2], 'counts': b'01100'}]
    """
    if isinstance(pyobj, Mapping):
        return from_runs(*runs([pyobj]))[0]
    items = _listed("pyobj", pyobj)
    if len(items) == 0:
        return []
    if isinstance(items[0], Mapping):
        return from_runs(*runs(items))
    if _is_number(items[0]):
        return _host.draw_polygons([items], _integer("h", h), _integer("w", w))[0]
    return _host.draw_polygons(items, _integer("h", h), _integer("w", w))


def rasterize(segmentations: Sequence[Any], h: int, w: int) -> list[RLE]:
    """Draws many instances of an image in one call.

    As ``COCO.annToRLE`` of each, but that a polygon of two points is a polygon, wherever it stands, and no box.

    Args:
        segmentations: an instance's polygons (their union is drawn), or its RLE object.
        h: height of the image; an RLE object has its own.
        w: width of the image.

    Returns:
        One RLE object for each instance.

    Raises:
        ValueError: an instance is malformed; the message names it.

    Example:
        >>> rasterize([[[0, 0, 2, 0, 2, 1, 0, 1]], {"size": [2, 2], "counts": [3, 1]}], 2, 2)
        [{'size': [2, 2], 'counts': b'01100'}, {'size': [2, 2], 'counts': b'31'}]
    """
    return _host.draw_instances(_listed("segmentations", segmentations), _integer("h", h), _integer("w", w))


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
    return _host.decode_runs(_listed("rles", rles))


def from_runs(counts: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> list[RLE]:
    """The inverse of :func:`runs`.

    Raises:
        ValueError: runs are negative or do not add up to their mask's size, which the message names; offsets do not
            ascend within the counts; or one of the three holds something else than integers.

    Example:
        >>> from_runs(*runs([{"size": [2, 2], "counts": b"13"}]))
        [{'size': [2, 2], 'counts': b'13'}]
    """
    return _host.encode_runs(
        _integers("counts", counts, np.int32), _integers("offsets", offsets, np.int64),
        _integers("sizes", sizes, np.int64),
    )  # fmt: skip


_CALLS = {"encode": encode, "decode": decode, "merge": merge, "area": area, "toBbox": toBbox, "iou": iou,
          "frPyObjects": frPyObjects}  # fmt: skip
_replaced: list[tuple[ModuleType, str, Any]] = []


def install() -> None:
    """Makes pycocotools' COCO and COCOeval, and all code that calls ``pycocotools.mask.<name>``, use this module.

    A name that was imported out of ``pycocotools.mask`` before stays what it was. Calling it again changes nothing.

    Example:
        >>> import pycocotools.mask
        >>> install()
        >>> pycocotools.mask.decode is decode
        True
        >>> uninstall()
        >>> pycocotools.mask.decode is decode
        False
    """
    if _replaced:
        return
    for module_name in ("pycocotools.mask", "pycocotools._mask"):
        module = importlib.import_module(module_name)
        for name, call in _CALLS.items():
            _replaced.append((module, name, getattr(module, name)))
            setattr(module, name, call)


def uninstall() -> None:
    """Undoes :func:`install`."""
    while _replaced:
        module, name, call = _replaced.pop()
        setattr(module, name, call)


def _listed(name: str, rles: Any) -> Sequence[Any]:
    """One RLE object, or a sequence of any kind, as a sequence."""
    if isinstance(rles, dict):
        return [rles]
    if not isinstance(rles, (str, bytes, bytearray, Mapping)):
        try:
            len(rles)
            return rles if isinstance(rles, Sequence) else list(rles)
        except (TypeError, ValueError):
            pass
    raise ValueError(f"{name} must be a sequence, got {_shown(rles)}")


def _operands(name: str, operands: Any) -> Sequence[Any]:
    """RLE objects or boxes, also where there is only one."""
    items = _listed(name, operands)
    return [items] if len(items) > 0 and _is_number(items[0]) else items


def _crowd(flags: Any, count: int) -> npt.NDArray[np.uint8]:
    try:
        crowd = np.asarray(flags).astype(bool).astype(np.uint8)
    except (TypeError, ValueError):
        raise ValueError(f"pyiscrowd must be numbers, got {_shown(flags)}") from None
    if crowd.ndim == 0:
        return np.full(count, crowd)
    if crowd.shape != (count,):
        raise ValueError(f"pyiscrowd must have one number for each of the {count} ground truths, got {crowd.size}")
    return crowd


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _integer(name: str, value: Any) -> int:
    """Of a number without a fraction: json files hold 480.0 too."""
    try:
        integer = int(value)
        if integer == value and abs(integer) < 2**63 and not isinstance(value, str):
            return integer
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be an integer, got {_shown(value)}")


def _integers(name: str, values: Any, dtype: type[np.integer[Any]]) -> Any:
    try:
        array = np.asarray(values)
        with np.errstate(invalid="ignore"):
            converted = array.astype(dtype)
        if np.array_equal(converted, array):
            return converted
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be an array of integers, got {_shown(values)}")


def _shown(value: Any) -> str:
    text = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _boxes(name: str, boxes: Any) -> npt.NDArray[np.float64]:
    try:
        array: npt.NDArray[np.float64] = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be boxes x, y, width, height: {error}") from None
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must be boxes x, y, width, height, got shape {list(array.shape)}")
    return array
