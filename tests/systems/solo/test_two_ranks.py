# SPDX-License-Identifier: Apache-2.0
"""Two ranks with half the batch each learn what one process learns from all of it.

Images without objects are among them, also all images of one rank, and levels that only one rank has objects of.
"""

import pytest
from systems.solo import two_ranks_solo
from systems.two_ranks import assert_learned_the_same, data_and_runs, steps_apart

EMPTY, IMAGES = (1, 3, 4, 7), 9
RUNS = {
    "published": {"networks": {}, "solver": {}},
    "fork": {
        "networks": {"backbone": {"normalization": "frozen", "freeze_at": 1}, "head": {"align_corners": True}},
        "solver": {
            "count_images": True,
            "dice_smooth": [1, 1],
            "sgd_style": "caffe",
            "multi_scale_loss": False,
            "gradient_clip": 1.0,
        },
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of the data and that of two ranks' runs."""
    return data_and_runs(tmp_path_factory.mktemp("ranks"), two_ranks_solo.__file__, IMAGES, EMPTY, RUNS)


def test_one_rank_alone_is_without_objects_in_some_steps():
    """What the other tests rely on."""
    assert steps_apart(IMAGES, EMPTY, two_ranks_solo.STEPS) >= 2


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_are_one_process_with_the_doubled_batch(folders, tmp_path, name):
    data, two = folders
    two_ranks_solo.train(data, tmp_path, 4, **RUNS[name])
    assert_learned_the_same(two / name, tmp_path)
