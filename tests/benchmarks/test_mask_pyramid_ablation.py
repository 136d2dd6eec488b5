# SPDX-License-Identifier: Apache-2.0
"""The ablations of the mask pyramid: rows are configurations, runs are kept, and the page says what they came to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from ldie.config import override
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramid
from ldie.tasks.detection import CocoDataset, build_shapes
from PIL import Image


@pytest.fixture
def ablation() -> ModuleType:
    from systems import mask_pyramid_ablation

    return mask_pyramid_ablation


@pytest.fixture
def page() -> ModuleType:
    from systems import mask_pyramid_page

    return mask_pyramid_page


def test_rows_are_configurations_that_differ(ablation: ModuleType) -> None:
    """And that fit together, whatever the preset is."""
    configs = []
    for row in ablation.rows():
        config = override(SYSTEM.preset("tiny"), ablation._changes(row, 600))
        config.check()
        configs.append(config)
    assert len({row.name for row in ablation.rows()}) == len(configs)
    assert all(configs.count(config) == 1 for config in configs)
    strides = {row.name: config.model.strides for row, config in zip(ablation.rows(), configs)}
    assert strides["start_16"] == (16, 8, 4) and strides["start_64"] == (64, 32, 16, 8, 4)
    (stagewise,) = (config for row, config in zip(ablation.rows(), configs) if row.name == "stagewise")
    assert (stagewise.solver.stage.levels, stagewise.solver.stage.steps) == (1, 100)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ablation")


def test_one_command_makes_the_page(
    ablation: ModuleType, page: ModuleType, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ldie.engine.report.write_curves", lambda *_: None)  # of each run, tested with the engine
    runs, docs = finished / "runs", finished / "docs"
    command = ["--quick", "--out", str(runs), "--docs", str(docs)]
    assert ablation.main(command) == 0
    text = (docs / page.PAGE).read_text()
    names = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert names == ["preset", "loss_l1"]
    pictures = re.findall(r"\]\((pictures/\S+)\)", text)
    assert len(pictures) == 3
    for file in pictures:
        with Image.open(docs / file) as picture:
            assert picture.width > 400
            colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
            assert (np.ptp(colors, axis=1) > 140).any() and (colors.min(1) > 250).any()  # also where they are few
    folders = sorted(runs.glob("*-0-*"))
    assert len(folders) == 2
    for folder in folders:
        metrics = json.loads((folder / "metrics.json").read_text())
        assert f"| {metrics['segm/AP']:.3f} | {metrics['segm/AP50']:.3f} |" in text


def test_what_is_done_is_read(
    ablation: ModuleType, page: ModuleType, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not trained again; a row more is, and what somebody wrote beside the table stays."""
    runs, docs = finished / "runs", finished / "docs"
    file = docs / page.PAGE
    file.write_text(f"{file.read_text()}\nWhat I think of it.\n".replace("# The", "Before.\n\n# The"))
    (metrics,) = (folder / "metrics.json" for folder in runs.glob("loss_l1-0-*"))
    metrics.write_text(json.dumps({**json.loads(metrics.read_text()), "segm/AP": 0.123}))
    trained = []

    def refused(arguments: list[str]) -> int:
        trained.append(arguments)
        return 1

    monkeypatch.setattr(ablation, "ldie_command", refused)
    options = ["--quick", "--out", str(runs), "--docs", str(docs), "--pictures"]
    assert ablation.main(options) == 0 and not trained
    text = file.read_text()
    assert "| 0.123 |" in text and text.startswith("Before.") and text.endswith("What I think of it.\n")
    assert ablation.main([*options, "--rows", "loss_l1", "generation_1", "--skip", "loss_l1"]) == 1
    ((arguments,),) = (trained,)
    assert "model.mask.generation=1" in arguments and "--preset" in arguments
    assert "`generation_1`" not in file.read_text() and "`preset`" in file.read_text()
    assert ablation.main([*options, "--seeds", "1"]) == 1
    assert len(trained) == 3 and "`preset`" in file.read_text()


def test_steps_that_fit_into_the_time_are_measured_once(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ablation.Study(tmp_path, tmp_path, 0, 1.5)

    def measured(folder: Path, *_: Any, **__: Any) -> None:
        folder.mkdir()
        seconds = (8.0, 2.0, 2.0, 1.0, 2.0)  # the first steps are slow; 4 steps each
        records = [{"kind": "train", "step": 4 * i, "seconds": each} for i, each in enumerate(seconds, 1)]
        (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    monkeypatch.setattr(ablation.Study, "_train", lambda self, folder, *rest, **more: measured(folder))
    assert study._steps(ablation.rows()[0], 0, tmp_path) == 180
    monkeypatch.setattr(ablation.Study, "_train", None)
    assert study._steps(ablation.rows()[0], 0, tmp_path) == 180
    assert not (tmp_path / "probe").exists()


def test_another_configuration_budget_or_data_set_is_another_run(ablation: ModuleType, tmp_path: Path) -> None:
    base, first, *_ = ablation.rows()
    data = [build_shapes(tmp_path / str(val), train=1, val=val) for val in (1, 2)]
    make = ablation.Study
    studies = [make(tmp_path, data[0], 6, 2.0), make(tmp_path, data[1], 6, 2.0), make(tmp_path, data[0], 0, 2.0)]
    folders = {study.folder(row, seed) for study in studies for row in (base, first) for seed in (0, 1)}
    assert len(folders) == 12
    assert studies[0].folder(base, 0) == make(tmp_path, data[0], 6, 5.0).folder(base, 0)


def test_the_page_says_how_most_objects_are_lost(page: ModuleType) -> None:
    from systems.mask_pyramid_limits import Limits

    def run(born: float, outlined: float, named: float, ap50: float) -> Any:
        return page.Run(0, 10, 1.0, ap50 / 2, ap50, ((10, ap50 / 2),), Limits(10, born, outlined, named, 0.5, (3.0,)))

    row = page.Row("preset", "", ())
    worst = {
        page.Outcome(row, (run(*parts),)).worst: parts
        for parts in ((0.5, 0.4, 0.4, 0.4), (0.9, 0.3, 0.3, 0.3), (1.0, 0.9, 0.4, 0.4), (1.0, 0.9, 0.9, 0.2))
    }
    assert list(worst) == ["births", "masks", "classes", "ranking"]
    several = page.Outcome(row, (run(1, 0.9, 0.8, 0.2), run(1, 0.9, 0.8, 0.4)))
    assert "| 0.150 (0.100 to 0.200) | 0.300 (0.200 to 0.400) |" in page.table([several])


def test_limits_of_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose hypotheses are the objects themselves loses none; with other classes all, but no masks."""
    from systems import mask_pyramid_limits as module

    data = CocoDataset(build_shapes(tmp_path / "shapes", train=1, val=3), "val2017")
    config = SYSTEM.preset("tiny")
    torch.manual_seed(0)
    model = MaskPyramid.from_config(config, SYSTEM.task.facts(data)).eval()
    objects = sum(len(data[index]) for index in range(3))
    fresh = module.limits(model, data)
    assert fresh.objects == objects and len(fresh.alive) == 4 and 0 <= fresh.named <= fresh.outlined <= 1

    known = iter([data[index] for index in range(3)])
    fates = module._fates

    def ideal(hits: Any, own: Any, place: int, slots: Any, sample: Any, frame: Any, threshold: float) -> Any:
        truth = next(known)
        assert torch.equal(truth.labels, sample.labels)
        maps = module.to_bitmaps(truth.masks, truth.size).float()[None]
        places = torch.arange(len(truth))
        own = module.Scored(maps, torch.ones(1, len(truth)), (truth.labels + shift)[None] % 3)
        return fates(torch.eye(len(truth), dtype=torch.bool), own, 0, places, sample, frame, threshold)

    monkeypatch.setattr(module, "_fates", ideal)
    shift = 0
    found = module.limits(model, data)
    assert (found.born, found.outlined, found.named) == (1.0, 1.0, 1.0) and found.overlap > 0.99
    known, shift = iter([data[index] for index in range(3)]), 1
    assert module.limits(model, data)[1:4] == (1.0, 1.0, 0.0)
