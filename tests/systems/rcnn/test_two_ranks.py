# SPDX-License-Identifier: Apache-2.0
"""Two ranks with half the batch each learn what one process learns from all of it; so does accumulation where it can.

Images without objects are among them, also all images of one rank.
"""

import pytest
import torch
from systems.rcnn import two_ranks_rcnn
from systems.rcnn.helpers import batch_of, gradients, no_objects, small_recipe, squares, two_images
from systems.two_ranks import assert_learned_the_same, data_and_runs, steps_apart

EMPTY, IMAGES = (1, 3, 4, 7), 9
RUNS = {
    "group": {"model": {}, "solver": {"loss": {"mask": 2.0, "keypoint": 0.5}}},  # DistributedDataParallel
    "frozen": {
        "model": {
            "convention": "torchvision",
            "backbone": {"normalization": "frozen", "freeze_at": 1},
            "box_head": {"class_agnostic": True},
        },
        "solver": {"gradient_clip": 1.0, "loss": {"box_beta": 0.5, "proposal_beta": 0.1}},
    },
    "phases": {  # gradients averaged before the steps
        "model": {},
        "solver": {
            "phases": [
                {"length": 5, "train": ["backbone", "proposal_generator"]},
                {"length": 5, "train": ["roi_heads"]},
                {},
            ]
        },
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of the data and that of two ranks' runs."""
    return data_and_runs(tmp_path_factory.mktemp("ranks"), two_ranks_rcnn.__file__, IMAGES, EMPTY, RUNS)


def test_one_rank_alone_is_without_objects_in_some_steps():
    """What the other tests rely on."""
    assert steps_apart(IMAGES, EMPTY, two_ranks_rcnn.STEPS) >= 3


@pytest.mark.parametrize("name", RUNS)
def test_kr_1_two_ranks_are_one_process_with_the_doubled_batch(folders, tmp_path, name):
    data, two = folders
    two_ranks_rcnn.train(data, tmp_path, 4, **RUNS[name])
    assert_learned_the_same(two / name, tmp_path)


def four_images():
    return [*two_images(), no_objects(image_id=3), squares((10, 10, 25), image_id=4)]


def test_accumulated_losses_of_proposals_are_those_of_one_large_batch():
    images, phases = four_images(), [{"train": ["backbone", "proposal_generator"]}]
    whole = gradients(small_recipe(solver={"phases": phases}), batch_of(*images))
    parts = gradients(small_recipe(solver={"phases": phases}), batch_of(*images[:2]), batch_of(*images[2:]))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)


def test_accumulated_over_equal_batches_a_step_is_that_of_one():
    whole, parts = (gradients(small_recipe(), *[batch_of()] * count) for count in (1, 3))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)


def test_accumulated_losses_of_heads_are_means_over_one_batch_at_a_time():
    """So a batch without objects halves what the other one teaches of masks; in one large batch it would not."""
    images = [*two_images(), no_objects(image_id=3), no_objects(image_id=4)]
    whole = gradients(small_recipe(), batch_of(*images))
    parts = gradients(small_recipe(), batch_of(*images[:2]), batch_of(*images[2:]))
    for head in ("mask_head.mask_fcn1", "keypoint_head.conv_fcn1"):
        name = f"roi_heads.{head}.weight"
        assert whole[name].any()
        torch.testing.assert_close(2 * parts[name], whole[name], rtol=1e-4, atol=1e-7)
