# SPDX-License-Identifier: Apache-2.0
"""Plans of pairs: what is learnt of them, their file, and making them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.published import plan_pairs as planner
from ldie.tasks.editing.published.fivek import FiveK
from ldie.tasks.editing.published.gier import Gier
from ldie.tasks.editing.published.plan_pairs import plan_pairs
from ldie.tasks.editing.published.plans import Plan, Plans, kept, row_of
from ldie.tasks.editing.published.published_folder import open_published
from ldie.tasks.editing.published.published_plans import read_published_plans
from PIL import Image
from tasks.editing.published_folders import fivek, gier, masks, picture, record

from ldie_ext import EditOp, Recipe, RecipeStep

BRIGHT, CONTRAST = RecipeStep("BRIGHTNESS", (0.25,)), RecipeStep("CONTRAST", (-0.5,))
TWO = Plan((BRIGHT, CONTRAST), (0.2, 0.1, 0.0))
ONE = Plan((CONTRAST,), (0.2, 0.1))


@pytest.mark.parametrize(
    ("distances", "count"),
    [
        ([0.1], 0),
        ([0.1, 0.11], 1),  # at least one, also where it makes it worse
        ([0.1, 0.05, 0.02, 0.0191, 0.001], 2),  # nothing behind the first that is of no use
        ([100.0, 99.0, 98.0], 1),  # a gain of exactly 1 % is of no use
        ([1.0, 0.98, 0.9601, 0.9502], 2),  # all gains are parts of the first distance
        ([0.0, 0.0, 0.0], 1),
        ([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], 5),
    ],
)
def test_steps_that_are_learnt(distances: list[float], count: int) -> None:
    assert kept(distances) == count
    plan = Plan((BRIGHT,) * (len(distances) - 1), tuple(distances))
    assert len(plan.sequence()) == count and plan.sequence().params.shape == (count, 24)


def test_eight_steps_for_gier() -> None:
    assert kept([1 - 0.1 * k for k in range(11)], max_steps=8) == 8


def test_numbers_that_are_learnt() -> None:
    assert row_of(BRIGHT).tolist() == [0.25] + [0.0] * 23
    assert row_of(RecipeStep("BRIGHTNESS", (5.0,)))[0] == 5.0
    assert row_of(RecipeStep("BRIGHTNESS", (-5.1,))).tolist() == [0.0] * 24
    tone = row_of(RecipeStep("TONE_CURVE", (1.0, 2.0, -4.0, 1.0, 1.0, 1.0, 1.0, 1.0)))
    assert tone.tolist() == [0.25, 0.5, -1.0, 0.25, 0.25, 0.25, 0.25, 0.25] + [0.0] * 16
    for weights in ((1.0,) * 16 + (-1.0,) * 8, (0.0,) * 24):  # of which no curve can be made
        assert row_of(RecipeStep("COLOR_CURVE", weights)).tolist() == [1.0] * 24


def test_a_sequence() -> None:
    sequence = TWO.sequence()
    assert sequence.ops.tolist() == [EditOp.BRIGHTNESS, EditOp.CONTRAST] and sequence.ops.dtype == torch.int64
    assert sequence.params.dtype == torch.float32 and sequence.params[:, 0].tolist() == [0.25, -0.5]
    assert len(TWO.sequence(1)) == 1


def test_pairs_that_share_an_input_have_plans_of_their_own(tmp_path: Path) -> None:
    records = [{"input": "o.png", "output": f"{letter}.png", "request": "x"} for letter in "ab"]
    root = fivek(tmp_path, train=records)
    Plans({("o.png", "a.png"): TWO, ("o.png", "b.png"): ONE}, settings={"size": 8}).save(tmp_path / "plans.json")
    plans = Plans.load(tmp_path / "plans.json")
    assert plans.plans == {("o.png", "a.png"): TWO, ("o.png", "b.png"): ONE} and plans.settings == {"size": 8}
    dataset = FiveK(root, "train", plans=plans)
    assert [len(sample.steps) for sample in dataset] == [2, 1] and dataset.operators == ("BRIGHTNESS", "CONTRAST")
    short = FiveK(root, "train", plans=Plans.load(tmp_path / "plans.json", max_steps=1))
    assert [len(sample.steps) for sample in short] == [1, 1]
    with pytest.raises(DataError, match=r"no plan for 1 of 2 pairs \(o.png to b.png\)"):
        FiveK(root, "train", plans=Plans({("o.png", "a.png"): TWO}))
    with pytest.raises(ConfigError, match="max_steps"):
        Plans({}, max_steps=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "expected plans"),
        ({"plans": 3}, "expected plans"),
        ({"version": 2}, "version must be 1, got 2"),
        ({"plans": [7]}, r"plans\[0\]: expected an object"),
        ({"plans": [{"input": "a", "output": "b", "steps": [], "distances": []}]}, "distances must be 1 numbers"),
        ({"plans": [{"input": "a", "output": "b", "steps": [], "distances": [float("nan")]}]}, "distances must be"),
        ({"plans": [{"input": "a", "output": "b", "steps": [], "distances": [1]}] * 2}, r"plans\[1\]: a to b is there"),
        (
            {"plans": [{"input": "a", "output": "b", "steps": [{"name": "HUE"}], "distances": [1, 1]}]},
            "name and params",
        ),
        (
            {"plans": [{"input": "a", "output": "b", "steps": [{"name": "SEPIA", "params": []}], "distances": [1, 1]}]},
            "unknown operator 'SEPIA'",
        ),
        (
            {"plans": [{"input": "a", "output": "b", "steps": [{"name": "HUE", "params": [9]}], "distances": [1, 1]}]},
            r"params\[0\] must be from -0.5 to 0.5",
        ),
        (
            {"plans": [{"input": "a", "output": "b", "steps": [{"name": None, "params": []}], "distances": [1, 1]}]},
            "name must be",
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "plans.json"
    path.write_text(json.dumps({"format": "ldie plans", "version": 1, "plans": [], **change}))
    with pytest.raises(DataError, match=message) as caught:
        Plans.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_plans(tmp_path: Path) -> None:
    path = tmp_path / "plans.json"
    path.write_text(json.dumps({"format": "ldie plans", "version": 1}))
    with pytest.raises(DataError, match="expected plans"):
        Plans.load(path)


@pytest.fixture
def edited(tmp_path: Path) -> FiveK:
    """Two edits of one picture."""
    root = fivek(tmp_path, train=[{"input": "o.png", "output": f"{n}.png", "request": "x"} for n in "ab"])
    pixels = picture(root / "images" / "o.png", (24, 32))
    for name, step in (("a", BRIGHT), ("b", CONTRAST)):
        Image.fromarray(Recipe([step]).apply(pixels)).save(root / "images" / f"{name}.png")
    return FiveK(root, "train")


SCALARS = ("BRIGHTNESS", "CONTRAST", "SATURATION")


def test_planning_finds_what_was_done(edited: FiveK, tmp_path: Path) -> None:
    plans = plan_pairs(edited, tmp_path / "plans.json", operators=SCALARS, max_steps=2)
    assert Plans.load(tmp_path / "plans.json").plans == plans.plans
    planned = FiveK(edited.root, "train", plans=plans)
    assert planned.labels == planned.operators == ("BRIGHTNESS", "CONTRAST") and edited.labels == ()
    for name, step in (("a", BRIGHT), ("b", CONTRAST)):
        plan = plans.plans["o.png", f"{name}.png"]
        assert [each.name for each in plan.steps] == [step.name]
        assert plan.steps[0].params == pytest.approx(step.params, abs=0.01)
        assert plan.distances[0] > 0.02 and plan.distances[1] < 0.002


def test_planning_goes_on_where_it_ended(edited: FiveK, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*images: Any, **options: Any) -> Any:
        calls.append(options)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [Recipe([BRIGHT])]

    monkeypatch.setattr(planner, "plan_edits", interrupted)
    path = tmp_path / "plans.json"
    with pytest.raises(KeyboardInterrupt):
        plan_pairs(edited, path, operators=SCALARS)
    assert list(Plans.load(path).plans) == [("o.png", "a.png")]
    assert len(plan_pairs(edited, path, operators=SCALARS)) == 2 and len(calls) == 3
    before = path.read_bytes()
    plan_pairs(edited, path, operators=SCALARS)
    assert len(calls) == 3 and path.read_bytes() == before
    with pytest.raises(DataError, match=r"planned with other settings \(operators\)"):
        plan_pairs(edited, path, operators=SCALARS[:2])
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_command(edited: FiveK, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "made" / "plans.json"
    command = ["plans", str(edited.root), "--out", str(path), "--size", "24", "--operators", *map(str.lower, SCALARS)]
    assert main(command) == 0
    assert "2 pairs, 1.0 steps each: mean difference 0." in capsys.readouterr().out
    plans = Plans.load(path)
    assert [step.name for plan in plans.plans.values() for step in plan.steps] == ["BRIGHTNESS", "CONTRAST"]
    assert open_published(edited.root, "train", plans=path).operators == ("BRIGHTNESS", "CONTRAST")
    assert "with other settings (max_steps)" in error_line(capsys, [*command, "--max-steps", "1"])


def test_planning_what_cannot_be(edited: FiveK, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="operators must be some of"):
        plan_pairs(edited, tmp_path / "plans.json", operators=["SEPIA"])
    with pytest.raises(ConfigError, match="method"):
        plan_pairs(edited, tmp_path / "plans.json", method="best")
    assert not (tmp_path / "plans.json").exists()


def test_a_plan_of_a_pair_with_a_region_acts_in_it(tmp_path: Path) -> None:
    """What else differs, as the noise of a JPEG file, is no edit."""
    operator = {"contrast": {"local": True, "ids": [0], "mask_mode": "exclusive"}}
    root = gier(tmp_path, train=[record("o.png", "a.png", "x", operator=operator)])
    pixels, mask = picture(root / "images" / "o.png", (24, 32)), np.zeros((24, 32), bool)
    mask[:10] = True
    target = Recipe([CONTRAST]).apply(pixels)
    target[mask] = pixels[mask] + 2
    Image.fromarray(target).save(root / "images" / "a.png")
    masks(root, "o", mask)
    plan = plan_pairs(Gier(root), tmp_path / "plans.json", operators=SCALARS, max_steps=2).plans["o.png", "a.png"]
    assert [step.name for step in plan.steps] == ["CONTRAST"]
    assert plan.steps[0].params == pytest.approx(CONTRAST.params, abs=0.01) and plan.steps[0].mask is None


def test_equal_pictures_have_a_plan_without_steps(tmp_path: Path) -> None:
    root = fivek(tmp_path, train=[{"input": "o.png", "output": "o.png", "request": "x"}])
    plans = plan_pairs(FiveK(root), tmp_path / "plans.json", operators=SCALARS)
    assert plans.plans["o.png", "o.png"] == Plan((), (0.0,))
    assert len(FiveK(root, plans=plans)[0].steps) == 0


def published(folder: Path, number: int, **fields: Any) -> None:
    path = folder / f"train{number}" / f"{number:05d}.json"
    path.parent.mkdir(parents=True)
    steps = [["contrast", [-0.5], 0.1], ["tone", [2.0] * 8, 0.05], ["color", [1.0] * 24, 0.0499]]
    content = {"request": ["x"], "init distance": 0.2, "operation sequence": [steps, steps[:1]], **fields}
    path.write_text(json.dumps(content))


def test_published_plans(edited: FiveK, tmp_path: Path) -> None:
    folder = tmp_path / "actions"
    published(folder, 0)
    published(folder, 1, request="x", **{"operation sequence": [[["brightness", [7.5], 0.1]]]})
    plans = read_published_plans(folder, edited)
    first = plans.steps("o.png", "a.png")
    assert first.ops.tolist() == [EditOp.CONTRAST, EditOp.TONE_CURVE]  # the third brings .05 % of what there was
    assert first.params[0, 0] == -0.5 and first.params[1].tolist() == [1.0] * 8 + [0.0] * 16
    second = plans.steps("o.png", "b.png")
    assert second.ops.tolist() == [EditOp.BRIGHTNESS] and second.params.abs().sum() == 0
    assert len(FiveK(edited.root, "train", plans=plans)[1].steps) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"request": ["darker"]}, "is of the request 'darker', but record 0 has 'x'"),
        ({"operation sequence": "none"}, "operation sequence must be a list of plans"),
        ({"operation sequence": [[["inpaint", [], 0.1]]]}, "step 0: operator must be one of"),
        ({"operation sequence": [[["contrast", [0.1]]]]}, "step 0: expected a name, parameters and a distance"),
        ({"operation sequence": [[["contrast", [0.1, 0.2], 0.1]]]}, "contrast must have 1 numbers, got 2"),
        ({"operation sequence": [[["contrast", [float("nan")], 0.1]]]}, "params must be numbers"),
        ({"init distance": None}, "distances must be 4 numbers"),
    ],
)
def test_published_plans_that_are_refused(edited: FiveK, tmp_path: Path, fields: dict, message: str) -> None:
    published(tmp_path / "actions", 0, **fields)
    with pytest.raises(DataError, match=message) as caught:
        read_published_plans(tmp_path / "actions", edited)
    assert "00000.json" in str(caught.value)


def test_published_plans_that_overwrote_each_other(tmp_path: Path) -> None:
    root = gier(tmp_path, train=[record("a_a.png", "a_b.png", "x")])
    with pytest.raises(DataError, match="overwritten each other's"):
        read_published_plans(tmp_path, Gier(root))
