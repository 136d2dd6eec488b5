"""References of the adversarial family: box class masks and the masked scale loss by the materialised product."""

import math

import torch
from torch import Tensor


def box_class_masks(
    boxes: Tensor,
    labels: Tensor | None,
    offsets: Tensor,
    num_classes: int,
    size: tuple[int, int],
    *,
    class_agnostic: bool = False,
    rounding: str = "trunc",
    packed: bool = False,
) -> Tensor:
    """Union of the boxes of each class, bool [B,Nc,H,W]; Nc = 1 and labels unused when class_agnostic.

    masks[b, c, y1:y2, x1:x2] = True with all four coordinates truncated toward zero, or, with rounding='outward',
    floor(x1), floor(y1), ceil(x2), ceil(y2); then clipped to the map. Skipped: boxes whose x2 > x1 and y2 > y1 does
    not hold (so NaN too), and, unless class_agnostic, labels outside [0, num_classes).
    packed: uint8 [B,Nc,H,ceil(W/8)], bit 0 = leftmost pixel, spare bits 0.
    """
    height, width = size
    batch = offsets.numel() - 1
    masks = torch.zeros(batch, 1 if class_agnostic else num_classes, height, width, dtype=torch.bool)
    for image in range(batch):
        for row in range(int(offsets[image]), int(offsets[image + 1])):
            x1, y1, x2, y2 = boxes[row].tolist()
            label = 0 if class_agnostic else int(labels[row])
            if not (x2 > x1 and y2 > y1) or not 0 <= label < masks.shape[1]:
                continue
            low, high = (math.floor, math.ceil) if rounding == "outward" else (math.trunc, math.trunc)
            columns = slice(low(clip(x1, width)), high(clip(x2, width)))
            rows = slice(low(clip(y1, height)), high(clip(y2, height)))
            masks[image, label, rows, columns] = True
    masks = masks.to(boxes.device)
    return pack_bits(masks) if packed else masks


def clip(value: float, limit: int) -> float:
    """Clip to [0, limit]: before the rounding, which it commutes with, so that infinities round too."""
    return min(max(value, 0.0), float(limit))


def pack_bits(masks: Tensor) -> Tensor:
    """Eight pixels of a row to a byte, bit 0 = leftmost."""
    width = masks.shape[-1]
    padded = torch.nn.functional.pad(masks.to(torch.uint8), (0, -width % 8))
    bits = padded.unflatten(-1, (-1, 8))
    return (bits << torch.arange(8, dtype=torch.uint8, device=masks.device)).sum(-1, dtype=torch.uint8)


def materialize_masked_scores(scores: Tensor, masks: Tensor) -> Tensor:
    """scores [B,S,H,W] * masks [B,Nc,H,W] -> [B*Nc,S,H,W]: row b * Nc + c is image b under the mask of class c."""
    product = scores[:, None] * masks[:, :, None].to(scores.dtype)
    return product.flatten(0, 1)


def masked_scale_loss(
    scores: Tensor,
    scale: int,
    boxes: Tensor | None = None,
    labels: Tensor | None = None,
    offsets: Tensor | None = None,
    *,
    masks: Tensor | None = None,
    num_classes: int | None = None,
    class_agnostic: bool = False,
    side: str = "detector",
    kind: str = "wasserstein",
    normalize: bool = True,
    rounding: str = "trunc",
    weight: Tensor | None = None,
) -> Tensor:
    """Adversarial loss of one scale on masked discriminator scores; a scalar, differentiable in scores (twice).

    O = scores * weight (weight [B,1|S,H,W], a constant), sign s_j = -1 for j == scale, else +1, on the detector side;
    the discriminator side takes -s_j. M = masks, or the `box_class_masks` of the boxes, or 1 with Nc = 1 (unmasked).
      wasserstein: sum M s_j O_j / D
      hinge:       sum M relu(1 + s_j O_j) / D, not normalised: mean relu(1 + s_j O_j M), 1 where M = 0
    D = S * sum M when normalised, else B * Nc * S * H * W; without masks both are the same. sum M = 0 under
    normalisation, or no element at all, gives loss 0 and gradient 0.
    """
    if boxes is not None:
        size = (scores.shape[2], scores.shape[3])
        classes = 1 if num_classes is None else num_classes
        masks = box_class_masks(boxes, labels, offsets, classes, size, class_agnostic=class_agnostic, rounding=rounding)
    elif masks is None:
        masks = torch.ones_like(scores[:, :1], dtype=torch.bool)
    elif class_agnostic:
        masks = masks.any(1, keepdim=True)
    channels = scores.shape[1]
    sign = torch.ones(channels, 1, 1, dtype=scores.dtype, device=scores.device)
    sign[scale] = -1
    if side == "discriminator":
        sign = -sign
    weighted = scores if weight is None else scores * weight.detach()
    product = materialize_masked_scores(weighted, masks)
    terms = sign * product
    if kind == "hinge":
        terms = (1 + terms).relu()
        if normalize:
            terms = terms * masks.flatten(0, 1)[:, None]
    count = channels * int(masks.sum()) if normalize else product.numel()
    return terms.sum() / max(1, count)
