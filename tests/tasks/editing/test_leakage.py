# SPDX-License-Identifier: Apache-2.0
"""Input images on both sides of a split: counts of constructed folders, and splits that have none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from engine.command import error_line
from ldie.cli import main
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.published.fivek import FiveK
from ldie.tasks.editing.published.gier import Gier
from ldie.tasks.editing.published.leakage import Leakage, PublishedSplits, leak_free, write_leak_free
from tasks.editing.published_folders import SPLITS, fivek, gier, picture, record

INPAINT = {"inpaint_obj": {"local": False, "ids": []}}


def pair(source: str, target: str, **operator: object) -> dict:
    return record(f"{source}_{source}.png", f"{source}_{target}.png", f"{source} {target}", operator=operator)


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Training has inputs a, b, c and d. Of validation 1 of 2 pairs is shared, of test 4 of 6, one by its content."""
    root = gier(
        tmp_path / "data",
        train=[pair("a", "1"), pair("a", "2"), pair("b", "1"), pair("c", "1", **INPAINT), pair("d", "1")],
        val=[pair("e", "1"), pair("a", "3", **INPAINT)],
        test=[
            pair("a", "4"), pair("b", "2", **INPAINT), pair("f", "1"), pair("copy", "1"), pair("c", "2"), pair("e", "2")
        ],
    )  # fmt: skip
    images = root / "images"
    shutil.copy(images / "d_d.png", images / "copy_copy.png")
    picture(images / "c_2.png", (5, 8))  # not of the input's size
    for split, rows in (("train", [0]), ("val", [1]), ("test", [1, 2, 4])):
        (root / "splits" / f"{split}_Ids_L1Thr_0.06_sess_3.json").write_text(json.dumps(rows))
    return root


def test_counts_are_exact(leaky: Path) -> None:
    assert PublishedSplits(leaky).leakage() == [
        Leakage("val", "full", 2, 1),
        Leakage("val", "global", 1, 0),
        Leakage("val", "shapeAlign", 2, 1),
        Leakage("val", "global+shapeAlign", 1, 0),
        Leakage("val", "valid", 1, 1),
        Leakage("test", "full", 6, 4),
        Leakage("test", "global", 5, 3),
        Leakage("test", "shapeAlign", 5, 3),
        Leakage("test", "global+shapeAlign", 4, 2),
        Leakage("test", "valid", 3, 2),
    ]


def test_a_leak_free_split(leaky: Path, tmp_path: Path) -> None:
    """Every pair is there once, all of an input image in one split, and the reader takes the files."""
    out = tmp_path / "clean"
    before, after = write_leak_free(leaky, out, seed=3, ratios=(0.5, 0.33, 0.17))
    assert before == PublishedSplits(leaky).leakage()
    assert all(each.shared == 0 for each in after) and after == PublishedSplits(leaky, out).leakage()
    published, made = PublishedSplits(leaky), PublishedSplits(leaky, out)
    old, new = ([json.dumps(each) for split in SPLITS for each in both.records[split]] for both in (published, made))
    assert sorted(old) == sorted(new) and len(set(old)) == 13
    inputs = {
        split: {made.content(each, split, row) for row, each in enumerate(made.records[split])} for split in SPLITS
    }
    assert [len(inputs[split]) for split in SPLITS] == [3, 2, 1]  # of six images
    assert not inputs["train"] & inputs["val"] and not (inputs["train"] | inputs["val"]) & inputs["test"]
    for split in SPLITS:
        assert len(Gier(leaky, split, splits=out)) == len(made.records[split])
    report = json.loads((out / "leakage.json").read_text())
    assert report["seed"] == 3 and report["published"][5] == {"split": "test", "mode": "full", "pairs": 6, "shared": 4}


def test_valid_pairs_are_the_same_ones(leaky: Path, tmp_path: Path) -> None:
    write_leak_free(leaky, tmp_path / "clean", ratios=(0.5, 0.3, 0.2))
    both = PublishedSplits(leaky), PublishedSplits(leaky, tmp_path / "clean")
    old, new = (
        sorted(each.records[split][row]["output"] for split in SPLITS for row in each.rows(split, "valid"))
        for each in both
    )
    assert old == new == ["a_1.png", "a_3.png", "b_2.png", "c_2.png", "f_1.png"]
    (leaky / "splits" / "val_Ids_L1Thr_0.06_sess_3.json").unlink()
    write_leak_free(leaky, tmp_path / "without", ratios=(0.5, 0.3, 0.2))
    assert not list((tmp_path / "without").glob("*Ids*"))


def test_the_seed_decides(leaky: Path) -> None:
    splits = PublishedSplits(leaky)
    first, again, other = (leak_free(splits, seed, (0.5, 0.25, 0.25)) for seed in (0, 0, 1))
    assert first == again != other


def test_pairs_that_readers_leave_out_do_not_count(tmp_path: Path) -> None:
    root = gier(tmp_path, train=[pair("a", "1")], test=[pair("a", "2"), pair("a", "3")])
    (root / "splits" / "test_sess_3.json").write_text(
        json.dumps([pair("a", "2"), {**pair("a", "3"), "output": "a.gif"}])
    )
    assert Leakage("test", "full", 1, 1) in PublishedSplits(root).leakage()


def test_fivek(tmp_path: Path) -> None:
    def asked(name: str, expert: str) -> dict[str, str]:
        return {"input": f"{name}_O.png", "output": f"{name}_{expert}.png", "request": f"{name} {expert}"}

    root = fivek(tmp_path / "data", train=[asked("1", "A"), asked("2", "B")], test=[asked("3", "A"), asked("2", "C")])
    counts, after = write_leak_free(root, tmp_path / "clean", ratios=(0.7, 0, 0.3))
    assert counts == [Leakage("val", "full", 0, 0), Leakage("test", "full", 2, 1)]
    assert after[1].shared == 0 and len(PublishedSplits(root, tmp_path / "clean").records["train"]) >= 2
    assert len(FiveK(root, "test", splits=tmp_path / "clean")) + len(FiveK(root, splits=tmp_path / "clean")) == 4


def test_what_is_refused(leaky: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither .*train_sess_1.json nor .*train_sess_3.json is there"):
        PublishedSplits(tmp_path)
    for ratios in ((0.8, 0.2), (0.9, 0.2, -0.1), (0.8, 0.1, 0.2), (float("nan"), 0.5, 0.5)):
        with pytest.raises(ConfigError, match="ratios must be 3 numbers"):
            write_leak_free(leaky, tmp_path / "clean", ratios=ratios)
    with pytest.raises(ConfigError, match="no image of 6 for val"):
        write_leak_free(leaky, tmp_path / "clean", ratios=(0.98, 0.01, 0.01))
    with pytest.raises(DataError, match="exists already"):
        write_leak_free(leaky, leaky, ratios=(0.5, 0.25, 0.25))
    assert not (tmp_path / "clean").exists()
    (leaky / "images" / "f_f.png").unlink()
    with pytest.raises(DataError, match=r"f_f.png: .*No such file"):
        write_leak_free(leaky, tmp_path / "clean", ratios=(0.5, 0.25, 0.25))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_command(leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clean"
    ratios = ["--ratios", "0.5", "0.25", "0.25"]
    assert main(["split", str(leaky), "--out", str(out), "--seed", "5", *ratios]) == 0
    said = capsys.readouterr().out
    assert "as published: test, full: 4 of 6 pairs have the input image of a training pair (66.7%)" in said
    assert "leak-free: test, full: 0 of " in said and str(out) in said
    assert json.loads((out / "leakage.json").read_text())["seed"] == 5
    assert "exists already" in error_line(capsys, ["split", leaky, "--out", out, *ratios])
    ratios[-1] = "0.5"
    assert "ratios must be 3 numbers" in error_line(capsys, ["split", leaky, "--out", tmp_path / "other", *ratios])
