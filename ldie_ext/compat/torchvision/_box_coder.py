"""Boxes as offsets from others, for several images at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

import ldie_ext


class BoxCoder:
    """``torchvision.models.detection._utils.BoxCoder`` on :func:`ldie_ext.encode_boxes` and ``decode_boxes``.

    Args:
        weights: of dx, dy, dw, dh, positive.
        bbox_xform_clip: the most that dw and dh may be when boxes are decoded.

    Example:
        >>> proposals = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
        >>> BoxCoder((1.0, 1.0, 1.0, 1.0)).decode(torch.tensor([[0.5, 0.0, 0.0, 0.0]]), proposals)
        tensor([[[2., 0., 6., 4.]]])
    """

    def __init__(
        self, weights: tuple[float, float, float, float], bbox_xform_clip: float = math.log(1000.0 / 16)
    ) -> None:
        self.weights = weights
        self.bbox_xform_clip = bbox_xform_clip

    def encode(self, reference_boxes: Sequence[Tensor], proposals: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """For each image [N, 4], the offsets from its proposals to the reference boxes."""
        targets = self.encode_single(torch.cat(list(reference_boxes)), torch.cat(list(proposals)))
        return targets.split([len(boxes) for boxes in reference_boxes])

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """The offsets of one image."""
        return ldie_ext.encode_boxes(reference_boxes, proposals, self.weights)

    def decode(self, rel_codes: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """[N, K, 4], the boxes of K classes that offsets [N, 4 K] make of the boxes of all images."""
        flat = torch.cat(list(boxes))
        if len(flat) == 0:
            return self.decode_single(rel_codes, flat)
        return self.decode_single(rel_codes.reshape(len(flat), -1), flat).reshape(len(flat), -1, 4)

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """The boxes of one image, in the shape and dtype of the offsets."""
        decoded = ldie_ext.decode_boxes(rel_codes, boxes, self.weights, clip=self.bbox_xform_clip)
        return decoded.to(rel_codes.dtype)
