# SPDX-License-Identifier: Apache-2.0
"""Training augmentation: for every scale a random crop of its own."""

from __future__ import annotations

from dataclasses import replace

from numpy.random import Generator

from ldie.data import Photometric, RandomCrop, RandomMirror, RandomResize, Sample
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.targets import Crop


class ScaleCrops:
    """A sample to one :class:`Crop` per scale in use: resized on each axis, cropped, mirrored, recoloured.

    Crowds and boxes without area are no training targets and are left out, as are boxes that a crop cuts below the
    scale's threshold: what remains of them looks like another object.
    """

    def __init__(self, config: CenterNetConfig) -> None:
        data = config.solver.data
        self.max_size = config.input.max_size
        self.resize_range = data.resize_range
        self.crops = [
            RandomCrop((size, size), box_threshold=data.box_threshold[scale], drop=True)
            for scale in config.model.valid_scale
            for size in [data.heatmap_size * config.model.down_ratios[scale]]
        ]
        self.mirror = RandomMirror()
        jitter = data.color_jitter
        self.photometric = Photometric(jitter, jitter, jitter, 45 * jitter)

    def __call__(self, sample: Sample, rng: Generator) -> list[Crop]:
        """The crops, in the order of ``model.valid_scale``."""
        ordinary = ~sample.iscrowd & (sample.boxes[:, 2:] > sample.boxes[:, :2]).all(1)
        sample = replace(sample, masks=None, keypoints=None).select(ordinary)
        longest = max(sample.image.shape[1:])
        base = min(1.0, self.max_size / longest) if self.max_size else 1.0
        resize = RandomResize((base * self.resize_range[0], base * self.resize_range[1]))
        return [self._crop(resize(sample, rng), crop, rng) for crop in self.crops]

    def _crop(self, sample: Sample, crop: RandomCrop, rng: Generator) -> Crop:
        for transform in (crop, self.mirror, self.photometric):
            sample = transform(sample, rng)
        return Crop(sample.image, sample.boxes, sample.labels)
