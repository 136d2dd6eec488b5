# SPDX-License-Identifier: Apache-2.0
"""Training images: whole ones, resized, mirrored, recoloured."""

from __future__ import annotations

from dataclasses import replace

from numpy.random import Generator

from ldie.contract import Facts
from ldie.systems.rcnn.config import RCNNConfig
from ldie.tasks.detection import Compose, Photometric, RandomMirror, ResizeShorterSide, Sample
from ldie.tasks.detection.geometry import clip


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
        self.augment = Compose(
            [
                ResizeShorterSide(data.shorter_sides, data.longest),
                RandomMirror(data.mirror, pairs),
                Photometric(jitter, jitter, jitter, 45 * jitter),
            ]
        )

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        """The sample resized, mirrored and recoloured."""
        needed = replace(
            sample,
            masks=sample.masks if self.masks else None,
            keypoints=sample.keypoints if self.keypoints else None,
        )
        return clip(self.augment(needed.select(~sample.iscrowd), rng))
