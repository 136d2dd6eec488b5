# SPDX-License-Identifier: Apache-2.0
"""Training images: whole ones, resized, mirrored, recoloured."""

from __future__ import annotations

from dataclasses import replace

import torch
from numpy.random import Generator
from torch import Tensor

from ldie.contract import Facts
from ldie.systems.rcnn.config import RCNNConfig
from ldie.tasks.detection import Compose, Photometric, RandomMirror, ResizeShorterSide, Sample, Transform
from ldie.tasks.detection.geometry import clip, image_size
from ldie.tasks.detection.masks import Size


class WholeImages:
    """A sample as the network learns from it.

    Objects are cut at the image's border. Crowds and what has no area are no training targets and are left out, as are
    masks and keypoints without a head for them.
    """

    def __init__(self, config: RCNNConfig, facts: Facts) -> None:
        data, model = config.solver.data, config.model
        jitter = data.color_jitter
        pairs = tuple((int(left), int(right)) for left, right in facts["flip_pairs"])
        self.masks, self.keypoints = model.mask_head.enabled, model.keypoint_head.enabled
        self.scales_indices = model.convention == "torchvision"
        steps: list[Transform] = [ResizeShorterSide(data.shorter_sides, data.longest), RandomMirror(data.mirror, pairs)]
        if jitter:
            steps.append(Photometric(jitter, jitter, jitter, 45 * jitter))
        self.augment = Compose(steps)

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """The sample resized, mirrored and recoloured."""
        needed = replace(
            sample,
            masks=sample.masks if self.masks else None,
            keypoints=sample.keypoints if self.keypoints else None,
        )
        made = clip(self.augment(needed.select(~sample.iscrowd), rng))
        if made.keypoints is None or not self.scales_indices:
            return made
        return replace(made, keypoints=_scaled_indices(made.keypoints, image_size(sample), image_size(made)))


def _scaled_indices(keypoints: Tensor, old: Size, new: Size) -> Tensor:
    """Keypoints of an image that was scaled, where their indices were scaled as coordinates are.

    As torchvision has it, which finds them by indices scaled back.
    """
    factors = torch.tensor([new[1] / old[1], new[0] / old[0], 1.0])
    return keypoints + 0.5 * (1 - factors) * (keypoints[..., 2:] > 0)
