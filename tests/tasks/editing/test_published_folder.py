# SPDX-License-Identifier: Apache-2.0
"""Which data set a folder is of, and its plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.published.fivek import FiveK
from ldie.tasks.editing.published.gier import Gier
from ldie.tasks.editing.published.plans import Plan, Plans
from ldie.tasks.editing.published.published_folder import open_published
from tasks.editing.published_folders import fivek, gier, record

from ldie_ext import RecipeStep

STEPS = (RecipeStep("HUE", (0.1,)),) * 10
LONG = Plan(STEPS, tuple(1 - 0.1 * k for k in range(11)))


def test_ma5k_req(tmp_path: Path) -> None:
    root = fivek(tmp_path / "data", train=[{"input": "o.png", "output": "a.png", "request": "x"}])
    dataset = open_published(root, "train", size=4)
    assert isinstance(dataset, FiveK) and dataset[0].source.shape == (3, 4, 4) and dataset[0].steps is None
    Plans({("o.png", "a.png"): LONG}).save(tmp_path / "plans.json")
    assert len(open_published(root, "train", plans=tmp_path / "plans.json")[0].steps or ()) == 5
    folder = tmp_path / "actions" / "train0"
    folder.mkdir(parents=True)
    content = {"request": ["x"], "init distance": 0.2, "operation sequence": [[["contrast", [0.5], 0.1]]]}
    (folder / "00000.json").write_text(json.dumps(content))
    assert open_published(root, "train", plans=folder.parent).operators == ("CONTRAST",)
    with pytest.raises(ConfigError, match="mode must be full"):
        open_published(root, "train", mode="global")


def test_gier(tmp_path: Path) -> None:
    records = [record("o.png", "a.png", "x"), record("o.png", "b.png", "y", operator={"color_bg": None})]
    root = gier(tmp_path / "data", train=records)
    assert isinstance(open_published(root, "train"), Gier) and len(open_published(root, "train")) == 2
    Plans({("o.png", "a.png"): LONG}).save(tmp_path / "plans.json")
    dataset = open_published(root, "train", mode="global", plans=tmp_path / "plans.json")
    assert [len(sample.steps or ()) for sample in dataset] == [8]
    other = gier(tmp_path / "other", train=records[1:])
    assert list(open_published(root, "train", splits=other / "splits").requests()) == ["y"]


def test_neither(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither .*val_sess_1.json nor .*val_sess_3.json"):
        open_published(tmp_path, "val")
