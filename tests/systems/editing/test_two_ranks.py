# SPDX-License-Identifier: Apache-2.0
"""Two processes learn what one learns from all their requests."""

from pathlib import Path

from systems.editing import two_ranks_editing
from systems.two_ranks import assert_learned_the_same, train_on_two_ranks

RUNS = {"supervised": {"solver": {}}, "clipped": {"solver": {"gradient_clip": 0.01, "accumulate": 2}}}


def test_two_ranks_equal_one_process_with_the_doubled_batch(tmp_path: Path) -> None:
    for name, sections in RUNS.items():
        two_ranks_editing.train(tmp_path, tmp_path / "alone" / name, 8, **sections)
    train_on_two_ranks(Path(two_ranks_editing.__file__), tmp_path, tmp_path / "ranks", RUNS)
    for name in RUNS:
        assert_learned_the_same(tmp_path / "ranks" / name, tmp_path / "alone" / name)
