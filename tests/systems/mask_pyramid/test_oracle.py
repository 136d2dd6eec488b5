# SPDX-License-Identifier: Apache-2.0
"""What the targets keep of the truth: the generated shapes through targets and results, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramidConfig
from ldie.systems.mask_pyramid.truth import make_truth
from ldie.tasks.detection import CocoDataset, build_shapes
from ldie.tasks.detection.batches import collate

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
FLOORS = {"area": 0.72, "fraction": 0.88}
"""AP of stride 4, of binary targets and of those that are fractions."""


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    return CocoDataset(build_shapes(tmp_path_factory.mktemp("shapes") / "shapes", train=1), "val2017")


@pytest.mark.parametrize("mode", FLOORS)
def test_targets_keep_of_the_truth_what_their_stride_can_hold(shapes: CocoDataset, mode: str) -> None:
    """All 224 objects of the 100 images, through targets, scores and suppression up to the file."""
    from systems.mask_pyramid_oracle import ideal_config, kept

    found = kept(shapes, ideal_config(4, mode))
    assert (found.objects, found.lost) == (224, 0)
    assert FLOORS[mode] < found.metrics["segm/AP"] < FLOORS[mode] + 0.03
    assert found.metrics["segm/AP50"] > 0.98


def test_levels_of_the_tiny_preset_can_begin_every_object(shapes: CocoDataset) -> None:
    """Nine share all their cells of stride 32 with a smaller object; the next level begins these."""
    from systems.mask_pyramid_oracle import alone, left

    config = SYSTEM.preset("tiny")
    assert isinstance(config, MaskPyramidConfig)
    samples = [shapes[index].select(~shapes[index].iscrowd) for index in range(len(shapes))]
    truths = [make_truth(collate([sample], 32), config) for sample in samples if len(sample)]
    counts = [[sum(level) for level in zip(*(count(truth, config) for truth in truths))] for count in (alone, left)]
    assert counts == [[9, 0, 0, 0], [9, 0, 0, 0]]


def test_the_tables_of_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few images."""
    from systems import mask_pyramid_oracle

    monkeypatch.setattr(mask_pyramid_oracle, "STRIDES", (4,))
    dataset = CocoDataset(build_shapes(tmp_path / "shapes", train=1, val=3), "val2017")
    lines = mask_pyramid_oracle.tables(dataset).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:6]] == ["`nearest`", "`bilinear`", "`area`", "`fraction`"]
    assert lines[-1] == "| 4 | 0 | 0 |"
