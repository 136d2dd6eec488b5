# SPDX-License-Identifier: Apache-2.0
"""Two ranks with half the batch each learn what one process learns from all of it.

Images without objects are among them, also all images of one rank; levels are added on the way.
"""

import pytest
from systems.mask_pyramid import two_ranks_mask_pyramid
from systems.two_ranks import assert_learned_the_same, data_and_runs, steps_apart

EMPTY, IMAGES = (1, 3, 4, 7), 9
RUNS = {
    "second": {
        "networks": {"growth": {"guide": True}, "score": {"iou_head": True}},
        "solver": {"assign": {"teach": True}, "stage": {"levels": 1, "steps": 5}, "loss": {"masks": ["ce", "l1"]}},
    },
    "first": {
        "networks": {"mask": {"generation": 1}, "last_stride": 8, "growth": {"max_alive": [16, 8], "newborns": [4]}},
        "solver": {"loss": {"missed": 1.0, "root": 1.0, "by_area": True}, "gradient_clip": 1.0},
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of the data and that of two ranks' runs."""
    return data_and_runs(tmp_path_factory.mktemp("ranks"), two_ranks_mask_pyramid.__file__, IMAGES, EMPTY, RUNS)


def test_one_rank_alone_is_without_objects_in_some_steps():
    """What the other tests rely on."""
    assert steps_apart(IMAGES, EMPTY, two_ranks_mask_pyramid.STEPS) >= 2


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_are_one_process_with_the_doubled_batch(folders, tmp_path, name):
    data, two = folders
    two_ranks_mask_pyramid.train(data, tmp_path, 4, **RUNS[name])
    assert_learned_the_same(two / name, tmp_path)
