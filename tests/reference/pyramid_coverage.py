"""Reference of a pyramid's coverage: pixel by pixel, in the order that the definition has."""

import math

import torch
from torch import Tensor


def claims_at(logits: list[float], alive: list[bool], largest: float) -> dict[int, float]:
    """The logit of each slot that claims the pixel."""
    claims = {n: logit for n, logit in enumerate(logits) if alive[n] and logit > -math.inf}  # and is no NaN
    return {n: min(logit, largest) for n, logit in claims.items()}


def shares_of(claims: dict[int, float], mode: str, background: float | None) -> dict[int, float]:
    if mode == "max":
        return {n: 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0 for n, logit in claims.items()}
    everyone = [*claims.values(), *([] if background is None else [background])]
    most = max(everyone, default=0.0)
    total = sum(math.exp(logit - most) for logit in everyone)
    return {n: math.exp(logit - most) / total for n, logit in claims.items()}


def pyramid_coverage(
    logits: Tensor,
    alive: Tensor,
    *,
    mode: str = "softmax",
    top_k: int = 3,
    background: float | None = None,
    floor: float = 0.0,
    sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As ldie_ext.pyramid_coverage; coverage in float64."""
    batch, _, height, width = logits.shape
    coverage, present = torch.ones(batch, height, width, dtype=torch.float64), torch.zeros_like(alive)
    largest = torch.finfo(torch.float64 if logits.dtype == torch.float64 else torch.float32).max
    for b in range(batch):
        h, w = (
            (height, width)
            if sizes is None
            else (min(max(side, 0), most) for side, most in zip(sizes[b].tolist(), (height, width), strict=True))
        )
        for y in range(h):
            for x in range(w):
                claims = claims_at(logits[b, :, y, x].tolist(), alive[b].tolist(), largest)
                shares = shares_of(claims, mode, background)
                coverage[b, y, x] = max(shares.values(), default=0.0)
                for n in sorted(claims, key=lambda n: (-claims[n], n))[:top_k]:
                    if floor == 0 or shares[n] > floor:
                        present[b, n] = True
    return coverage, present
