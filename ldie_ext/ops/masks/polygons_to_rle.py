"""Polygons of many instances to COCO's run lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.polygons import Polygons
from ldie_ext.ops.masks.rle import RLE
from ldie_ext.ops.ragged.integers import integers

__all__ = ["polygons_to_rle"]


def polygons_to_rle(polygons: Polygons, size: tuple[int, int], *, max_runs: int | None = None) -> RLE:
    """Run lengths of polygons, bit for bit those of ``pycocotools.mask``, all instances in one call.

    The encoding of :func:`polygons_to_masks`; on the CPU no mask is drawn for it. ``polygons_to_rle(...).to_coco()``
    is what ``merge(frPyObjects(parts, H, W))`` gives for each instance.

    Args:
        polygons: N instances.
        size: (H, W) of the masks, less than 2^31 pixels.
        max_runs: room for this many runs in all, so that no shape depends on the data and nothing waits for the
            device. Runs that do not fit are left out: the result is whole when ``offsets[-1] <= max_runs``, and
            unused counts are 0.

    Returns:
        The run lengths, on the device of the polygons. An empty instance has one run.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, masks are too big, or (on the CPU) offsets do not rise
            from 0 to their count.

    Differentiable: no. Deterministic: yes.

    Source: ``rleFrPoly`` and ``rleMerge`` of the COCO API. Native code: csrc/masks/polygons_to_rle.h

    Example:
        >>> polygons = Polygons.from_coco([[[0, 0, 3, 0, 3, 2, 0, 2]]])
        >>> polygons_to_rle(polygons, (3, 4)).counts.tolist()
        [0, 2, 1, 2, 1, 2, 4]
    """
    tensors = polygons.coords, polygons.part_offsets, polygons.instance_offsets
    counts, offsets = _library.ops.polygons_to_rle(*tensors, *size, max_runs)
    return RLE(counts, offsets, integers(list(size), counts).expand(len(polygons), 2))


def _fake(
    coords: Tensor,
    part_offsets: Tensor,
    instance_offsets: Tensor,
    height: int,
    width: int,
    max_runs: int | None,
) -> tuple[Tensor, Tensor]:
    runs = torch.library.get_ctx().new_dynamic_size() if max_runs is None else max_runs
    return coords.new_empty((runs,), dtype=torch.int32), torch.empty_like(instance_offsets)


register("polygons_to_rle", fake=_fake, discrete=True)
