# SPDX-License-Identifier: Apache-2.0
"""Training augmentation: for every scale a random crop of its own."""

from __future__ import annotations

from dataclasses import replace

from numpy.random import Generator

from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.targets import Crop
from ldie.tasks.detection import Compose, Photometric, RandomCrop, RandomMirror, RandomResize, Resize, Sample


class ScaleCrops:
    """A sample to one :class:`Crop` per scale in use: resized on each axis, cropped, mirrored, recoloured.

    Every scale draws its own crop, or, with ``solver.contents_match``, all show the largest crop, resized.
    Crowds and boxes without area are no training targets and are left out, as are boxes that a crop cuts below the
    scale's threshold: what remains of them looks like another object.
    """

    def __init__(self, config: CenterNetConfig) -> None:
        data = config.solver.data
        self.max_size = config.input.max_size
        self.resize_range = data.resize_range
        self.match = config.solver.contents_match
        windows = [
            ((data.cells[0] * ratio, data.cells[1] * ratio), threshold)
            for ratio, threshold in zip(config.model.down_ratios, data.box_threshold)
        ]
        self.largest = max(windows)
        self.windows = [windows[scale] for scale in config.model.valid_scale]
        self.mirror = RandomMirror(data.mirror)
        jitter = data.color_jitter
        self.photometric = Photometric(jitter, jitter, jitter, 45 * jitter)

    def __call__(self, sample: Sample, rng: Generator) -> list[Crop]:
        """The crops, in the order of ``model.valid_scale``."""
        ordinary = ~sample.iscrowd & (sample.boxes[:, 2:] > sample.boxes[:, :2]).all(1)
        sample = replace(sample, masks=None, keypoints=None).select(ordinary)
        if self.match:
            whole = self._crop(sample, *self.largest, rng)
            crops = [Resize(size)(whole) for size, _ in self.windows]
        else:
            crops = [self._crop(sample, *window, rng) for window in self.windows]
        return [Crop(crop.image, crop.boxes, crop.labels) for crop in crops]

    def _crop(self, sample: Sample, size: tuple[int, int], threshold: float, rng: Generator) -> Sample:
        longest = max(sample.image.shape[1:])
        base = min(1.0, self.max_size / longest) if self.max_size else 1.0
        resize = RandomResize((base * self.resize_range[0], base * self.resize_range[1]))
        return Compose([resize, RandomCrop(size, threshold, drop=True), self.mirror, self.photometric])(sample, rng)
