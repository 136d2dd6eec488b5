# SPDX-License-Identifier: Apache-2.0
"""Two ranks with half the batch each learn what one process learns from all of it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ldie.systems.centernet.detector import Maps
from ldie.systems.centernet.losses import adversarial_loss, detection_losses
from ldie.systems.centernet.ranks import rank_shares, weighted
from ldie.systems.centernet.targets import ScaleBatch, cell_targets
from ldie.tasks.detection import build_shapes
from systems.centernet import two_ranks_centernet
from systems.centernet.helpers import CLASSES, small_config
from systems.two_ranks import assert_learned_the_same, train_on_two_ranks

NONE = {part: {"normalization": "none"} for part in ("extractor", "detector")}
GROUP = {part: {"normalization": "group"} for part in ("extractor", "detector")}
RUNS = {
    "none": {"model": NONE, "solver": {}},
    "group": {
        "model": {**GROUP, "discriminator": {"masking_class_agnostic": True}},
        "solver": {"adv_loss_fn": "hinge"},
    },
    "clipped": {
        "model": {**NONE, "discriminator": {"normalize_loss_with_mask": False, "mask_round": "outward"}},
        "solver": {"detector": {"init_train_iter": 7, "gradient_clip": 1.0}},
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of the data and that of two ranks' runs."""
    folder = tmp_path_factory.mktemp("ranks")
    data = build_shapes(folder / "shapes", train=9, val=3, size=64)
    train_on_two_ranks(Path(two_ranks_centernet.__file__), data, folder / "two", RUNS)
    return data, folder / "two"


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_are_one_process_with_the_doubled_batch(folders, tmp_path, name):
    data, two = folders
    two_ranks_centernet.train(data, tmp_path, 4, **RUNS[name])
    assert_learned_the_same(two / name, tmp_path)


def random_targets(boxes_per_image):
    """Targets of images with so many boxes each, on a map of 12 x 16 cells."""
    total = sum(boxes_per_image)
    corners = torch.rand(total, 2) * 8
    boxes = torch.cat((corners, corners + 1 + torch.rand(total, 2) * 6), 1)
    offsets = torch.tensor([0, *boxes_per_image]).cumsum(0)
    images = torch.zeros(len(boxes_per_image), 3, 12, 16, dtype=torch.uint8)
    batch = ScaleBatch(images, boxes.double(), torch.randint(0, CLASSES, (total,)), offsets)
    return lambda start, stop: cell_targets(part_of(batch, start, stop), 1, (12, 16), 5)


def part_of(batch, start, stop):
    first, last = batch.offsets[start], batch.offsets[stop]
    offsets = batch.offsets[start : stop + 1] - first
    return ScaleBatch(batch.images[start:stop], batch.boxes[first:last], batch.labels[first:last], offsets)


def all_losses(maps, scores, targets, config, share):
    terms = share.detection(detection_losses(Maps(*maps), targets, config.solver.detector))
    for side in ("detector", "discriminator"):
        terms[side] = weighted(adversarial_loss(scores, 1, targets, config, side), share.cells)
    return terms


@pytest.mark.parametrize("boxes", [(3, 9, 1, 2), (4, 1, 0, 0), (0, 0, 0, 0)])  # 9 are more than get targets
@pytest.mark.parametrize("options", [{}, {"masking": False}, {"normalize_loss_with_mask": False}])
def test_shares_make_means_over_ranks_means_over_all(boxes, options):
    torch.manual_seed(0)
    config = small_config(model={"discriminator": options}, solver={"adv_loss_fn": "hinge"})
    maps = [torch.randn(4, channels, 12, 16).double() for channels in (CLASSES, 2, 2)]
    scores, targets = torch.randn(4, 3, 12, 16).double(), random_targets(boxes)
    seen = []
    for start in (0, 2):  # first only to see the counts
        runtime = SimpleNamespace(world_size=2, total=lambda counts: seen.append(counts) or counts)
        rank_shares([targets(start, start + 2)], (12, 16), config, runtime)
    runtime = SimpleNamespace(world_size=2, total=lambda counts: sum(seen))
    halves = []
    for start in (0, 2):
        part = targets(start, start + 2)
        (share,) = rank_shares([part], (12, 16), config, runtime)
        values = [m[start : start + 2].contiguous() for m in maps]
        halves.append(all_losses(values, scores[start : start + 2], part, config, share))
    whole = targets(0, 4)
    (alone,) = rank_shares([whole], (12, 16), config, SimpleNamespace(world_size=1))
    for name, value in all_losses(maps, scores, whole, config, alone).items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, value, rtol=1e-12, atol=1e-12)
