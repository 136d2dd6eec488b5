# SPDX-License-Identifier: Apache-2.0
"""GIER's files, with the defects that they were published with."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.published.gier import NAMES, Gier
from tasks.editing.published_folders import gier, masks, picture, record

NAN = float("nan")
LEFT, TOP = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
LEFT[:, :3], TOP[:2] = True, True


def local(*ids: Any, **more: Any) -> dict[str, Any]:
    return {"local": True, "ids": list(ids), **more}


GLOBAL = {"local": False, "ids": []}


def one(tmp_path: Path, operator: Any, *pixels: np.ndarray, size: int | None = None) -> Any:
    """The sample of a pair with these operators and masks."""
    root = gier(tmp_path, train=[record("a_a.png", "a_b.png", "do it", operator=operator)])
    masks(root, "a_a", *pixels)
    return Gier(root, "train", size=size)[0]


def test_a_sample_is_a_request_of_experts_then_of_amateurs(tmp_path: Path) -> None:
    records = [
        record("a_a.png", "a_b.png", "first", "second", amateur=("third",), operator={"brightness": GLOBAL}),
        record("a_a.png", "a_c.png", "second", operator={"crop": GLOBAL, "hue": GLOBAL}),
    ]
    dataset = Gier(gier(tmp_path, val=records), "val")
    assert list(dataset.requests()) == ["first", "second", "third", "second"] and len(dataset) == 4
    assert [sample.request for sample in dataset] == list(dataset.requests())
    assert len({dataset[index].key for index in range(4)}) == 4
    assert dataset[2].operators == {"BRIGHTNESS"} and dataset[3].operators == {"CROP", "COLOR_CURVE"}
    assert dataset.operators == ("BRIGHTNESS", "COLOR_CURVE")  # in the order of their numbers; CROP has none
    assert dataset.labels == ("BRIGHTNESS", "COLOR_CURVE", "CROP")
    assert not torch.equal(dataset[0].target, dataset[3].target) and torch.equal(dataset[0].source, dataset[3].source)


def test_names_of_operators() -> None:
    assert NAMES["hue"] == "COLOR_CURVE" and NAMES["tint"] == "TONE_CURVE"  # what the original called its curves
    assert NAMES["gaussain_blur"] == NAMES["gaussian_blur"] == "BLUR"
    assert NAMES["inpaint_obj"] == "INPAINT_OBJ" and NAMES["deform_obj"] == "DEFORM_OBJ"
    assert len(NAMES) == 24


@pytest.mark.parametrize(
    ("operator", "names"),
    [
        (NAN, set()),
        (None, set()),
        ({}, set()),
        ({"nan": GLOBAL, "NaN": None}, set()),
        ({"contrast": NAN, "hue": None}, {"CONTRAST", "COLOR_CURVE"}),
        ({"contrast": {"local": True, "ids": NAN}}, {"CONTRAST"}),
        ({"contrast": {"local": True, "ids": None}}, {"CONTRAST"}),
        ({"contrast": {"local": True, "ids": []}}, {"CONTRAST"}),
        ({"contrast": {"local": False, "ids": [0]}}, {"CONTRAST"}),
        ({"contrast": {"local": NAN}}, {"CONTRAST"}),
    ],
)
def test_operators_of_which_little_is_known(tmp_path: Path, operator: Any, names: set[str]) -> None:
    """The pair stays, for its request and pictures are good; what is not known to be local is not."""
    sample = one(tmp_path, operator, LEFT)
    assert sample.operators == names and sample.region is None


@pytest.mark.parametrize(
    ("operator", "region"),
    [
        ({"hue": local(0)}, LEFT),
        ({"hue": local(0, mask_mode="inclusive")}, LEFT),
        ({"hue": local(0, mask_mode=NAN)}, LEFT),
        ({"hue": local(0, mask_mode="exclusive")}, ~LEFT),
        ({"hue": local(0, 1)}, LEFT | TOP),
        ({"hue": local(1, 0, 1, 1)}, LEFT | TOP),
        ({"hue": local(0, 1, mask_mode="exclusive")}, ~(LEFT | TOP)),
        ({"hue": local(0), "tint": local(0)}, LEFT),
        ({"hue": local(0), "tint": local(1)}, LEFT | TOP),
        ({"hue": local(0), "tint": local(1, mask_mode="exclusive")}, LEFT | ~TOP),
        ({"hue": local(0), "tint": GLOBAL}, None),
    ],
)
def test_regions(tmp_path: Path, operator: Any, region: np.ndarray | None) -> None:
    found = one(tmp_path, operator, LEFT, TOP).region
    assert found is None if region is None else (found.dtype == torch.bool and np.array_equal(found.numpy(), region))


def test_masks_of_another_size(tmp_path: Path) -> None:
    """By rounding they are resized by nearest pixels; of another aspect, they are of another picture."""
    mask = np.zeros((13, 17), bool)
    mask[:, :9] = True
    assert one(tmp_path, {"hue": local(0)}, mask).region.tolist() == [[True] * 4 + [False] * 4] * 6
    assert one(tmp_path, {"hue": local(0)}, LEFT, size=4).region.tolist() == [[True, False, False, False]] * 4
    with pytest.raises(DataError, match=r"a_a.png: image must have the aspect of its mask, 8 x 6, got 6 x 8"):
        one(tmp_path, {"hue": local(0)}, LEFT.T)


def test_what_is_left_out_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [
        record("a_a.gif", "a_b.png", "x"),
        record("b_b.png", "b_c.GIF", "x"),
        record("c_c.png", "c_d.png", "", " \n", NAN, None, amateur=("kept",)),
        record("d_d.png", "d_e.png", "", amateur=NAN),
    ]
    with caplog.at_level(logging.INFO, "ldie"):
        dataset = Gier(gier(tmp_path, train=records), "train")
        assert [sample.request for sample in dataset] == ["kept"]
    said = "2 pairs with a .gif, 5 requests without a text, 1 pairs without a request"
    assert [line.message for line in caplog.records] == [f"{dataset.origin}: left out: {said}"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operator": {"vignette": GLOBAL}}, "record 1: unknown operator 'vignette'; known: brightness"),
        ({"operator": [1]}, "record 1: operator must be an object"),
        ({"operator": {"hue": [0]}}, "record 1: hue: expected an object with local and ids"),
        ({"operator": {"hue": {"local": "yes", "ids": []}}}, "record 1: hue: local must be true or false"),
        ({"operator": {"hue": local("0")}}, "record 1: hue: ids must be numbers of masks"),
        ({"operator": {"hue": local(-1)}}, "record 1: hue: ids must be"),
        ({"operator": {"hue": local(True)}}, "record 1: hue: ids must be"),
        ({"operator": {"hue": local(0, mask_mode="around")}}, "record 1: hue: mask_mode must be"),
        ({"operator": {"hue": local(0, mask_mode=[1])}}, "record 1: hue: mask_mode must be"),
        ({"expert_summary": "do it"}, "record 1: expert_summary must be a list"),
        ({"input": None}, "record 1: input must be a file's name, got nothing"),
    ],
)
def test_records_that_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    good = record("a_a.png", "a_b.png", "x")
    root = gier(tmp_path, train=[good, good])
    (root / "splits" / "train_sess_3.json").write_text(json.dumps([good, good | fields]))
    with pytest.raises(DataError, match=message) as caught:
        Gier(root, "train")
    assert "train_sess_3.json" in str(caught.value)


def test_masks_that_are_refused(tmp_path: Path) -> None:
    root = gier(tmp_path, train=[record("a_a.png", "a_b.png", "x", operator={"hue": local(1)})])
    with pytest.raises(DataError, match=r"a_a_mask.json: no such file, but record 0"):
        Gier(root, "train")
    masks(root, "a_a", LEFT)
    with pytest.raises(DataError, match=r"has 1 masks, but record 0 .* names number 1"):
        Gier(root, "train")
    path = root / "masks" / "a_a_mask.json"
    good = json.loads(path.read_text())[0]
    for bad in ({**good, "counts": "xyz"}, {"size": [6, 8]}, {**good, "size": [0, 8]}):
        path.write_text(json.dumps([good, bad]))
        with pytest.raises(DataError, match=r"a_a_mask.json: mask 1: "):
            Gier(root, "train")


def test_names_with_folders_are_of_files_without(tmp_path: Path) -> None:
    root = gier(tmp_path, train=[record("a/a.png", "a/b.png", "x", operator={"hue": local(0)})])
    masks(root, "a_a", LEFT)
    assert sorted(path.name for path in (root / "images").iterdir()) == ["a_a.png", "a_b.png"]
    assert np.array_equal(Gier(root)[0].region.numpy(), LEFT)


@pytest.fixture
def modes(tmp_path: Path) -> Path:
    """Four pairs: global and equal in size; local; global but cropped; cropped and local."""
    names = [f"{letter}_{letter}.png" for letter in "abcd"]
    asked = [{"hue": GLOBAL}, {"inpaint_obj": GLOBAL}, {"crop": GLOBAL}, {"color_bg": GLOBAL}]
    for name, letter, size in zip(names[2:], "cd", ((4, 8), (6, 5)), strict=True):
        picture(tmp_path / "images" / f"{letter}_out.png", size)
        assert name[0] == letter
    records = [
        record(name, f"{name[0]}_out.png", f"request {name[0]}", operator=op)
        for name, op in zip(names, asked, strict=True)
    ]
    root = gier(tmp_path, test=records)
    (root / "splits" / "test_Ids_L1Thr_0.06_sess_3.json").write_text("[1, 0, 3]")
    return root


@pytest.mark.parametrize(
    ("mode", "letters"),
    [("full", "abcd"), ("global", "ac"), ("shapeAlign", "ab"), ("valid", "abd"), ("global+shapeAlign", "a"),
     ("shapeAlign+valid", "ab"), ("valid+global+full", "a")],
)  # fmt: skip
def test_modes(modes: Path, mode: str, letters: str) -> None:
    assert [request[-1] for request in Gier(modes, "test", mode=mode).requests()] == list(letters)


@pytest.mark.parametrize("name", ["shapeAlignNonCrop", "shapeAlign_nonCrop", "global+shapeAlign_NonCrop"])
def test_the_published_lists_that_are_wrong_are_refused(modes: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="lack pairs of equal size"):
        Gier(modes, "test", mode=name)


def test_modes_and_lists_that_are_refused(modes: Path) -> None:
    with pytest.raises(ConfigError, match=r"joined by [+], got 'global,valid'"):
        Gier(modes, "test", mode="global,valid")
    with pytest.raises(DataError, match=r"train_Ids_L1Thr_0.06_sess_3.json: no such"):
        Gier(modes, "train", mode="valid")
    for text in ("[0, 4]", "[true]", '["a"]', "{}", "[-1]"):
        (modes / "splits" / "test_Ids_L1Thr_0.06_sess_3.json").write_text(text)
        with pytest.raises(DataError, match="expected a list of rows below 4"):
            Gier(modes, "test", mode="valid")
    with pytest.raises(DataError, match="has no pairs"):
        Gier(modes, "train")
