"""COCO masks as run lengths: the calls of ``pycocotools.mask``, byte for byte the same results, on all cores.

An RLE object is ``{"size": [height, width], "counts": bytes}``; wherever one is taken, ``counts`` may also be str or a
list of run lengths (COCO's uncompressed form). Calls release the interpreter lock. Malformed input is a ValueError that
names the item; it never reads or writes out of bounds, and needs no more memory than the sizes and the input itself ask
for. Differences from pycocotools: in :func:`merge`, sizes that differ are an error, and so are runs that do not add up
to the size, an odd number of coordinates, and coordinates that are not finite; non-zero pixels of any value are ones.
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
    """Sets how many threads a call may use, at least 1.

    The default is OMP_NUM_THREADS, or else the cores that the process may run on. Results do not depend on it.
    """
    _host.set_threads(count)


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
    masks = _host.decode_masks(_listed(rles))
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
    return _host.merge_masks(rles, bool(intersect))


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
    pixels = _host.areas(_listed(rles))
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
    boxes = _host.boxes(_listed(rles))
    return boxes[0] if isinstance(rles, dict) else boxes


def iou(dt: Any, gt: Any, pyiscrowd: Any) -> Any:
    """Intersection over union of every detection with every ground truth, of masks or of boxes.

    Where a ground truth is a crowd, intersection over the detection's own area.

    Args:
        dt: sequence of M RLE objects; or M boxes x, y, width, height (array [M, 4], or sequence of boxes).
        gt: N of the same kind.
        pyiscrowd: N numbers, non-zero where the ground truth is a crowd.

    Returns:
        float64 [M, N] in Fortran order, or an empty list when there are no detections or no ground truths. -1 for masks
        of different sizes whose boxes overlap.

    Raises:
        ValueError: an object is malformed, the kinds differ, or ``pyiscrowd`` has not N numbers.

    Example:
        >>> iou([[0, 0, 2, 2]], [[1, 0, 2, 2], [0, 0, 4, 4]], [0, 1])
        array([[0.33333333, 1.        ]])
    """
    crowd = np.asarray(pyiscrowd, dtype=np.uint8)
    if len(crowd) != len(gt):
        raise ValueError(f"pyiscrowd must have one number for each of the {len(gt)} ground truths, got {len(crowd)}")
    if len(dt) == 0 or len(gt) == 0:
        return []
    if isinstance(dt[0], Mapping) != isinstance(gt[0], Mapping):
        raise ValueError("dt and gt must both be RLE objects, or both boxes")
    if isinstance(dt[0], Mapping):
        return _host.mask_ious(dt, gt, crowd).T
    return _host.box_ious(_boxes("dt", dt), _boxes("gt", gt), crowd).T


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
    if len(pyobj) == 0:
        return []
    if isinstance(pyobj[0], Mapping):
        return from_runs(*runs(pyobj))
    if not isinstance(pyobj[0], (list, tuple)) and np.ndim(pyobj[0]) == 0:
        return _host.draw_polygons([pyobj], h, w)[0]
    return _host.draw_polygons(pyobj, h, w)


def rasterize(segmentations: Sequence[Any], h: int, w: int) -> list[RLE]:
    """Draws many instances of an image in one call; ``COCO.annToRLE`` of each.

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
    return _host.draw_instances(segmentations, h, w)


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
    return _host.decode_runs(rles)


def from_runs(counts: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> list[RLE]:
    """The inverse of :func:`runs`.

    Raises:
        ValueError: runs are negative or do not add up to their mask's size, which the message names; or offsets do not
            ascend within the counts.

    Example:
        >>> from_runs(*runs([{"size": [2, 2], "counts": b"13"}]))
        [{'size': [2, 2], 'counts': b'13'}]
    """
    return _host.encode_runs(counts, offsets, sizes)


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


def _listed(rles: Any) -> Sequence[Any]:
    return [rles] if isinstance(rles, dict) else rles


def _boxes(name: str, boxes: Any) -> npt.NDArray[np.float64]:
    try:
        array: npt.NDArray[np.float64] = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be boxes x, y, width, height: {error}") from None
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must be boxes x, y, width, height, got shape {list(array.shape)}")
    return array
