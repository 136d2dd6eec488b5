"""Maps of probabilities as masks of the image, painted by score."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from ldie_ext import _library
from ldie_ext._register import register
from ldie_ext.ops.masks.rle import RLE
from ldie_ext.ops.masks.rle_encode import rle_encode

__all__ = ["composite_masks"]


@overload
def composite_masks(
    maps: Tensor,
    size: tuple[int, int],
    *,
    index: Tensor | None = ...,
    scores: Tensor | None = ...,
    threshold: float = ...,
    between: tuple[int, int] | None = ...,
    crop: tuple[int, int] | None = ...,
    align_corners: bool = ...,
    exclusive: bool = ...,
    packed: bool = ...,
    rle: Literal[False] = ...,
) -> Tensor: ...
@overload
def composite_masks(
    maps: Tensor,
    size: tuple[int, int],
    *,
    index: Tensor | None = ...,
    scores: Tensor | None = ...,
    threshold: float = ...,
    between: tuple[int, int] | None = ...,
    crop: tuple[int, int] | None = ...,
    align_corners: bool = ...,
    exclusive: bool = ...,
    packed: Literal[False] = ...,
    rle: Literal[True],
) -> RLE: ...
def composite_masks(
    maps: Tensor,
    size: tuple[int, int],
    *,
    index: Tensor | None = None,
    scores: Tensor | None = None,
    threshold: float = 0.5,
    between: tuple[int, int] | None = None,
    crop: tuple[int, int] | None = None,
    align_corners: bool = False,
    exclusive: bool = False,
    packed: bool = False,
    rle: bool = False,
) -> Tensor | RLE:
    """Selected maps resized bilinearly, in one step or two, cut at a threshold and painted by score, in one pass.

    With ``resize`` for ``torch.nn.functional.interpolate(..., mode="bilinear", align_corners=align_corners)``::

        resize(resize(maps[index], between)[:, :crop[0], :crop[1]], size) > threshold

    which is how box-free detectors leave the padded input of the network for the image as it was. Neither picture of
    floats is ever in memory, and nothing waits for the device. With ``exclusive`` a pixel that lies in several masks
    stays in the one with the best score alone.

    Both steps are linear and separable, so that a pixel is ``sum_y wy sum_x wx map[y, x]`` over at most 4 x 4 cells,
    whose weights are products of the two steps' fractions. Positions and fractions are rounded as PyTorch's, every
    product and sum is rounded once, in float32 (float64 for float64 maps). Pixels are those of the two steps above,
    but for values that lie on the threshold up to rounding: by no more than 8 units in the last place of the largest
    cell that the pixel reads.

    Args:
        maps: float [R, h, w] with h, w >= 1: probabilities, or logits with a threshold of their own.
        size: (H, W) of the masks.
        index: int64 [K], rows of ``maps`` in the order of the result, repeated or not; a row that does not exist
            gives an empty mask. None: all rows.
        scores: float [K], for ``exclusive`` alone: in descending order, equal ones in the order of the masks, NaN
            first. None: the masks come in their order, the best first.
        threshold: pixels above it are set. A pixel that reads a NaN, or an infinity at weight 0, is not.
        between: (H1, W1) of the first step, such as the padded input of the network. None: there is one step only.
        crop: (h1, w1), what is kept of ``between``, or of the maps without it: its upper left part, such as the
            network's input without padding. None: all of it.
        align_corners: of both steps, as in ``interpolate``.
        exclusive: a pixel is set in one mask at most.
        packed: 8 pixels a byte, bit 0 leftmost.
        rle: run lengths, which are made from packed masks; the host reads how many runs there are.

    Returns:
        bool [K, H, W]; uint8 [K, H, ceil(W / 8)] when packed; run lengths with ``rle``.

    Raises:
        RuntimeError: a shape, dtype or device does not fit, or crop is larger than what it is cut from.
        ValueError: ``packed`` and ``rle`` at once.

    Differentiable: no. Deterministic: yes.

    Source: inference of SOLO (Wang et al., ECCV 2020): masks resized to the input, cropped, resized to the image and
    thresholded; painting in the order of scores as in panoptic merging (Kirillov et al., CVPR 2019). Native code:
    csrc/masks/composite_masks.h

    Example:
        >>> maps = torch.tensor([[[0.9, 0.1]], [[0.6, 0.8]]])
        >>> composite_masks(maps, (1, 6)).int()
        tensor([[[1, 1, 1, 0, 0, 0]],
                [[1, 1, 1, 1, 1, 1]]], dtype=torch.int32)
        >>> composite_masks(maps, (1, 6), scores=torch.tensor([0.9, 0.8]), exclusive=True).int()
        tensor([[[1, 1, 1, 0, 0, 0]],
                [[0, 0, 0, 1, 1, 1]]], dtype=torch.int32)
    """
    if packed and rle:
        raise ValueError("packed and rle are two forms of the result: choose one")
    order = None if scores is None else scores.double()
    sides = ([] if picture is None else picture for picture in (between, crop))
    masks = _library.ops.composite_masks(
        maps, index, order, *size, threshold, *sides, align_corners, exclusive, packed or rle
    )
    return rle_encode(masks, packed_width=size[1]) if rle else masks


def _fake(maps: Tensor, index: Tensor | None, _: object, height: int, width: int, *options: object) -> Tensor:
    packed = options[-1]
    shape = (maps.shape[0] if index is None else index.shape[0], height, (width + 7) // 8 if packed else width)
    return maps.new_empty(shape, dtype=torch.uint8 if packed else torch.bool)


register("composite_masks", fake=_fake, discrete=True)
