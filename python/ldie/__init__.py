# SPDX-License-Identifier: Apache-2.0
"""Five detection, segmentation and editing systems on the operators of ``ldie_ext``: train, evaluate, predict."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from ldie.inference import Predictor

try:
    __version__ = version("ldie-ext")
except PackageNotFoundError:
    __version__ = "0+unknown"
"""Version of the installed distribution; ``0+unknown`` in a source tree that is not installed."""


def load(source: str | Path, device: str | torch.device | None = None) -> Predictor:
    """A model, ready to be called.

    Args:
        source: Work folder of a run (its best checkpoint), a ``.safetensors`` file, or a preset with fresh weights:
            ``centernet`` or ``centernet:full``.
        device: Where it computes; by default on a GPU if there is one.

    Returns:
        ``model(images)`` gives a list of :class:`ldie.tasks.detection.Detections`, one for each of the images: paths,
        Pillow images, uint8 arrays [H,W,3] or tensors [3,H,W], one or a list. A model of the system ``editing`` takes
        pairs of image and request instead, and has ``model.edit(image, "make it warmer")``:
        :meth:`ldie.inference.Predictor.edit`.

    Raises:
        CheckpointError: Nothing there, not readable, or of another version.
        ConfigError: A device that is not here.

    Example:
        >>> import torch
        >>> model = load("centernet", device="cpu")
        >>> (found,) = model(torch.zeros(3, 32, 32))
        >>> len(found.names) == len(found.boxes) == len(found.scores)
        True
    """
    from ldie import inference  # imports torch, which the command line does not need for a wrong usage

    return inference.load(source, device)
