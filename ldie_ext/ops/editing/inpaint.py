"""What fills the place of an object: a classical inpainter by default, or any function of images and mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

__all__ = ["OpenCVInpainter"]

#: From float images [B, 3, H, W] in [0, 1] and bool holes [B, 1, H, W] to images of that shape.
Inpainter = Callable[[Tensor, Tensor], Tensor]
LEVELS = 255  # the scale that OpenCV's constants are made for, also where it takes floats: of [0, 1] it makes [-1, 2]
Method = Literal["navier_stokes", "telea"]


@dataclass(frozen=True)
class OpenCVInpainter:
    """Fills holes from their borders inwards by OpenCV's ``cv2.inpaint``: `pip install ldie-ext[inpaint]`.

    It continues what surrounds a hole, and invents nothing: good for small objects on even ground. OpenCV is imported
    when the first hole is filled. A channel is computed by itself, in float32 on the CPU, in the hole's box and what is
    read around it. An image that is a hole altogether stays as it is.

    Attributes:
        radius: in pixels, how far around a pixel what is known counts.
        method: 'navier_stokes', of Bertalmio et al. (2001), or 'telea', the fast marching of Telea (2004).
    """

    radius: float = 3.0
    method: Method = "navier_stokes"

    def __post_init__(self) -> None:
        """Refuses what OpenCV would crash on or pass over."""
        if not 0 < self.radius <= 100:
            raise ValueError(f"radius must be above 0 and at most 100 pixels, got {self.radius}")
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {list(get_args(Method))}, got {self.method!r}")

    def __call__(self, images: Tensor, holes: Tensor) -> Tensor:
        """The images [B, 3, H, W] with the holes [B, 1, H, W] filled; the rest as it was."""
        cv2 = _opencv()
        code = cv2.INPAINT_TELEA if self.method == "telea" else cv2.INPAINT_NS
        filled = images.clone()
        for image, hole in zip(filled, holes[:, 0].cpu().numpy(), strict=True):
            if not hole.any() or hole.all():
                continue
            box = _surroundings(hole, 2 * int(np.ceil(self.radius)) + 2)
            mask = hole[box].astype(np.uint8)
            inside = torch.from_numpy(hole[box]).to(image.device)
            for channel in image:
                # Telea's method reads some of what the hole held.
                known = (channel[box] * LEVELS).masked_fill(inside, LEVELS / 2).to("cpu", torch.float32)
                done = cv2.inpaint(known.contiguous().numpy(), mask, self.radius, code)
                channel[box] = torch.where(inside, torch.from_numpy(done).to(channel) / LEVELS, channel[box])
        return filled


def _surroundings(hole: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The box of a hole, with a margin where the image has one."""
    sides = []
    for axis in (1, 0):
        places = np.flatnonzero(hole.any(axis))
        sides.append(slice(max(int(places[0]) - margin, 0), int(places[-1]) + 1 + margin))
    return sides[0], sides[1]


def _opencv() -> ModuleType:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "INPAINT_OBJ, ROTATE_OBJ and FLIP_OBJ fill in the background by OpenCV, which is not installed; "
            "pip install ldie-ext[inpaint], or give EditExecutor an inpainter of your own",
            name="cv2",
        ) from error
    return cv2
