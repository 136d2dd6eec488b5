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
        above = {n: logit - (background or 0.0) for n, logit in claims.items()}
        return {n: 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0 for n, logit in above.items()}
    everyone = [*claims.values(), *([] if background is None else [background])]
    most = max(everyone, default=0.0)
    total = sum(math.exp(logit - most) for logit in everyone)
    return {n: math.exp(logit - most) / total for n, logit in claims.items()}


def pyramid_coverage(
    logits: Tensor,
    alive: Tensor,
    *,
    places: Tensor | None = None,
    step: float = 1.0,
    mode: str = "softmax",
    top_k: int = 3,
    background: float | None = None,
    floor: float = 0.0,
    sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As ldie_ext.pyramid_coverage; coverage and responses in float64."""
    batch, _, height, width = logits.shape
    coverage, present = torch.ones(batch, height, width, dtype=torch.float64), torch.zeros_like(alive)
    largest = torch.finfo(torch.float64 if logits.dtype == torch.float64 else torch.float32).max
    for b in range(batch):
        h, w = (math.inf, math.inf) if sizes is None else sizes[b].tolist()
        for y in range(height):
            for x in range(width):
                if not (y * step < h and x * step < w):
                    continue
                claims = claims_at(logits[b, :, y, x].tolist(), alive[b].tolist(), largest)
                shares = shares_of(claims, mode, background)
                coverage[b, y, x] = max(shares.values(), default=0.0)
                for n in sorted(claims, key=lambda n: (-claims[n], n))[:top_k]:
                    if floor == 0 or shares[n] > floor:
                        present[b, n] = True
    return coverage, present, None if places is None else responses_at(logits, alive, places, step)


def responses_at(logits: Tensor, alive: Tensor, places: Tensor, step: float) -> Tensor:
    responses = torch.full(alive.shape, -math.inf, dtype=torch.float64)
    height, width = logits.shape[2:]
    for b, n in alive.nonzero().tolist() if height * width else ():
        x, y = places[b, n].tolist()
        if math.isfinite(x) and math.isfinite(y):
            i, j = (min(max(math.floor(at / step), 0), side - 1) for at, side in ((y, height), (x, width)))
            responses[b, n] = logits[b, n, i, j]
    return responses
