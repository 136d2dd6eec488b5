# SPDX-License-Identifier: Apache-2.0
"""Trained models without the training: from a run, a file or a preset to a model on a device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ldie.config import RunConfig, merge
from ldie.contract import Facts, Model, System
from ldie.engine import checkpoint, distributed
from ldie.engine.checkpoint import Header
from ldie.errors import CheckpointError, ConfigError
from ldie.nn.weights import copy_whole
from ldie.systems import SYSTEMS, get_system

if TYPE_CHECKING:
    from ldie.tasks.editing.model import StepModel
    from ldie.tasks.editing.photographs.edited import Edited

logger = logging.getLogger("ldie")


class Predictor(nn.Module):
    """A model that takes inputs as people have them and gives results as people want them.

    Args:
        system: Whose model it is.
        model: In eval mode, on its device.
        step: Training steps that the weights have seen.
        origin: Where the weights come from.
    """

    def __init__(self, system: System, model: Model, step: int, origin: str) -> None:
        super().__init__()
        self.system = system
        self.model = model
        self.step = step
        self.origin = origin
        self.eval()

    @property
    def facts(self) -> Facts:
        """What the model knows of its data: classes and the like."""
        return self.model.facts

    def forward(self, inputs: Any, batch_size: int = 1) -> list[Any]:
        """A result for each input.

        Args:
            inputs: One or a list; for detection images as paths, Pillow images, uint8 arrays [H,W,3] or tensors
                [3,H,W], for which the results are :class:`ldie.tasks.detection.Detections`; for editing pairs (image,
                request), for which they are :class:`ldie.tasks.editing.sample.EditPrediction`.
            batch_size: How many go through the model together.
        """
        return self.system.task.infer(self.model, inputs, batch_size)

    @property
    def editor(self) -> StepModel:
        """The model of the system ``editing``.

        Raises:
            ConfigError: It is another system's.
        """
        from ldie.tasks.editing.model import StepModel  # with Pillow's writers, which detection does without

        if not isinstance(self.model, StepModel):
            raise ConfigError(
                f"{self.origin}: is a model of {self.system.name}, which edits no pictures; give one of editing"
            )
        return self.model

    def edit(self, image: Any, request: str, *, strength: float = 1.0, region: Any = None) -> Edited:
        """Does what a request in words asks for; decided on a small preview, applied to all pixels.

        Args:
            image: Path of a file, Pillow image, array [H,W,3] of uint8 or uint16, or tensor [3,H,W] of uint8 or floats
                from 0 to 1.
            request: In English: ``make it warmer and a bit brighter``.
            strength: How much of the steps, from 0 to 1.
            region: Where they act: bool [H,W] of the picture's aspect, or a box x1, y1, x2, y2; None: everywhere.

        Returns:
            The edited image, as one of the given kind, with its recipe, the steps in words, unknown words, and how much
            of each step came from each word. No steps where the model decides on none.

        Raises:
            ConfigError: A model that does not edit; a request that cannot be done as it is asked for (``crop it``,
                ``remove the car`` without a region), or of which no word is known; another strength or region.
            DataError: The image cannot be read.
        """
        from ldie.tasks.editing.photographs.edited import edited  # as above

        return edited(self.editor, image, request, strength, region)


def load(source: str | Path, device: str | torch.device | None = None) -> Predictor:
    """See :func:`ldie.load`."""
    target = distributed.local_device(None if device is None else str(device))
    path = Path(source)
    name, _, preset = str(source).partition(":")
    if name not in SYSTEMS or path.exists():
        return load_checkpoint(checkpoint.find_weights(path), target)
    system = get_system(name)
    config = system.preset(preset or None)
    logger.warning("%s: fresh weights, nothing is trained; train it or load a checkpoint", source)
    model = system.model.from_config(config, system.task.facts_without_data(config))
    return Predictor(system, model.to(target), 0, str(source))


def load_checkpoint(path: Path, device: torch.device) -> Predictor:
    """The model of a weights file.

    Raises:
        CheckpointError: The file cannot be read or does not fit this version.
    """
    header, weights = checkpoint.load_weights(path)
    system = get_system(header.system)
    try:
        system.task.validate(header.facts)
    except ValueError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error}); train again or give another") from error
    model = system.model.from_config(saved_config(system, header, path), header.facts)
    copy_whole(model, weights, str(path))
    return Predictor(system, model.to(device), header.step, str(path))


def saved_config(system: System, header: Header, path: Path) -> RunConfig:
    """The configuration of a run, from one of its checkpoints.

    Raises:
        CheckpointError: It does not fit this version.
    """
    try:
        return merge(system.preset(), header.config)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its configuration does not fit this version of {header.system} ({error}); train again"
        ) from error
