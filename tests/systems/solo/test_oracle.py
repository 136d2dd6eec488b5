# SPDX-License-Identifier: Apache-2.0
"""What the targets keep of the truth: the generated shapes through targets and results, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from ldie.systems.solo import SYSTEM, SOLOConfig
from ldie.systems.solo.targets import make_targets
from ldie.tasks.detection import CocoDataset, build_shapes
from ldie.tasks.detection.batches import collate

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
CEILINGS = {
    (2, "area"): (0.870, 1.000), (4, "area"): (0.732, 0.983), (8, "area"): (0.464, 0.897),
    (2, "fraction"): (0.980, 1.000), (4, "fraction"): (0.897, 0.982), (8, "fraction"): (0.646, 0.925),
}  # fmt: skip
"""AP and AP50 of masks that were made coarser so many times and interpolated back, with no SOLO in between."""


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    return CocoDataset(build_shapes(tmp_path_factory.mktemp("shapes") / "shapes", train=1), "val2017")


@pytest.mark.parametrize(("stride", "mode"), CEILINGS)
def test_targets_keep_of_the_truth_what_their_stride_can_hold(shapes: CocoDataset, stride: int, mode: str) -> None:
    """All 224 objects of the 100 images, from places, through suppression, up to the file."""
    from systems.solo_oracle import ideal_config, kept

    found = kept(shapes, ideal_config(stride, mode))
    ap, ap50 = CEILINGS[stride, mode]
    assert (found.objects, found.lost) == (224, 0)
    assert found.metrics["segm/AP"] == pytest.approx(ap, abs=0.01)
    assert found.metrics["segm/AP50"] == pytest.approx(ap50, abs=0.01)


def lost(shapes: CocoDataset, config: SOLOConfig) -> int:
    """Objects that no place learns."""
    count = 0
    for index in range(len(shapes)):
        sample = shapes[index].select(~shapes[index].iscrowd)
        learned = {row for own in make_targets(collate([sample], 32), config).positives for row in own.objects.tolist()}
        count += len(sample) - len(learned)
    return count


@pytest.mark.parametrize("grid", [8, 12, 16, 24])
def test_single_grids_lose_no_object(shapes: CocoDataset, grid: int) -> None:
    """Where the data's order decides who has a place; the smallest grid loses one where the smaller object does."""
    from systems.solo_oracle import ideal_config

    assert lost(shapes, ideal_config(2, "area", (grid,), assign={"order": "given"})) == 0
    assert lost(shapes, ideal_config(2, "area", (grid,), assign={"order": "area"})) == (grid == 8)


@pytest.mark.parametrize("preset", ["tiny", "overfit"])
def test_presets_lose_no_object(shapes: CocoDataset, preset: str) -> None:
    config = SYSTEM.preset(preset)
    assert isinstance(config, SOLOConfig) and lost(shapes, config) == 0


def test_the_tables_of_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few images."""
    from systems import solo_oracle

    monkeypatch.setattr(solo_oracle, "STRIDES", (4,))
    monkeypatch.setattr(solo_oracle, "GRIDS", (12,))
    lines = solo_oracle.tables(CocoDataset(build_shapes(tmp_path / "shapes", train=1, val=3), "val2017")).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:6]] == ["`nearest`", "`bilinear`", "`area`", "`fraction`"]
    assert lines[-1].startswith("| 12 | ")
