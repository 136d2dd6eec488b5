"""Run lengths of many masks in three flat tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ldie_ext._public import is_tensor, shown
from ldie_ext.coco import mask as coco

__all__ = ["RLE"]


@dataclass(frozen=True)
class RLE:
    """N masks as alternating run lengths, read column by column, zeros first (COCO's encoding, as numbers).

    Mask ``n`` owns runs ``offsets[n]`` to ``offsets[n + 1]``; they add up to its height times width. Its first run may
    be 0, where the mask starts with a one. A mask has less than 2^31 pixels.

    Example:
        >>> rle = RLE.from_coco([{"size": [2, 2], "counts": b"13"}])
        >>> rle.counts.tolist(), rle.offsets.tolist(), rle.sizes.tolist()
        ([1, 3], [0, 2], [[2, 2]])
        >>> rle.to_coco()
        [{'size': [2, 2], 'counts': b'13'}]
    """

    counts: Tensor
    """int32 [R], the runs of all masks."""
    offsets: Tensor
    """int64 [N + 1]."""
    sizes: Tensor
    """int64 [N, 2], height and width."""

    def __post_init__(self) -> None:
        if not is_tensor(self.counts, torch.int32, 1):
            raise ValueError(f"counts must be int32 [R], got {shown(self.counts)}")
        if not is_tensor(self.offsets, torch.int64, 1) or self.offsets.numel() == 0:
            raise ValueError(f"offsets must be int64 [N + 1], got {shown(self.offsets)}")
        if not is_tensor(self.sizes, torch.int64, 2) or tuple(self.sizes.shape) != (len(self), 2):
            raise ValueError(
                f"sizes must be int64 [{len(self)}, 2] (offsets says {len(self)} masks), got {shown(self.sizes)}"
            )

    def __len__(self) -> int:
        return self.offsets.numel() - 1

    def common_size(self) -> tuple[int, int]:
        """(H, W) that all masks share, (0, 0) of none. Reads ``sizes``, which on a GPU waits for the device.

        Raises:
            ValueError: the masks differ in size.
        """
        sizes = self.sizes.tolist()
        for n, size in enumerate(sizes):
            if size != sizes[0]:
                raise ValueError(f"rle must hold masks of one size: mask 0 has {sizes[0]}, mask {n} has {size}")
        return tuple(sizes[0]) if sizes else (0, 0)

    @staticmethod
    def from_coco(rles: Sequence[Mapping[str, Any]]) -> RLE:
        """Run lengths from COCO's dicts ``{"size": [H, W], "counts": bytes, str or list}``.

        Returns:
            The masks, on the CPU.

        Raises:
            ValueError: an object is malformed; the message names it.
        """
        counts, offsets, sizes = coco.runs(rles)
        return RLE(torch.from_numpy(counts), torch.from_numpy(offsets), torch.from_numpy(sizes))

    def to_coco(self) -> list[coco.RLE]:
        """COCO's dicts with string counts (bytes), as :func:`pycocotools.mask.encode` gives them.

        Raises:
            ValueError: runs are negative or do not add up to the size.
        """
        return coco.from_runs(*(tensor.cpu().numpy() for tensor in (self.counts, self.offsets, self.sizes)))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RLE:
        """The same masks on another device."""
        return RLE(
            self.counts.to(device, non_blocking=non_blocking),
            self.offsets.to(device, non_blocking=non_blocking),
            self.sizes.to(device, non_blocking=non_blocking),
        )
