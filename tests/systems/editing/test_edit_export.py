# SPDX-License-Identifier: Apache-2.0
"""The editor outside of the command line: in Python, as an exported graph, under the benchmark."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ldie
import numpy as np
import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.errors import ConfigError, DataError, ExportError
from ldie.inference import Predictor
from ldie.tasks.editing.photographs.decision import decide, take_order
from ldie.tasks.editing.sample import EditInput
from ldie.tasks.editing.words.vocabulary import END, START
from PIL import Image
from systems.editing.conftest import MAX_WORDS
from systems.editing.helpers import SIZE, tiny_editor

from ldie_ext import EditOp, apply_edits

PIXELS = np.random.default_rng(0).integers(40, 215, (20, 30, 3), np.uint8)
PLANES = torch.from_numpy(PIXELS).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="module")
def editor(editor_run: Path) -> Predictor:
    return ldie.load(editor_run, device="cpu")


def test_every_kind_of_picture_gives_one_of_its_kind(editor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    request = "make it brighter and pale"
    of_array = editor.edit(PIXELS, request)
    assert isinstance(of_array.image, np.ndarray) and of_array.image.dtype == np.uint8
    assert np.array_equal(of_array.image, of_array.recipe.apply(PIXELS))
    for kind in (tmp_path / "photo.png", str(tmp_path / "photo.png")):
        assert np.array_equal(editor.edit(kind, request).image, of_array.image)
    of_pillow = editor.edit(Image.fromarray(PIXELS), request).image
    assert isinstance(of_pillow, Image.Image) and np.array_equal(np.asarray(of_pillow), of_array.image)
    of_tensor = editor.edit(PLANES, request).image
    assert of_tensor.dtype == torch.uint8 and np.array_equal(of_tensor.permute(1, 2, 0).numpy(), of_array.image)
    of_floats = editor.edit(PLANES / 255, request).image
    assert of_floats.dtype == torch.float32 and (of_floats * 255 - of_tensor).abs().max() < 0.6
    deep = editor.edit(PIXELS.astype(np.uint16) * 257, request).image
    assert deep.dtype == np.uint16 and np.abs(deep / 257 - of_array.image).max() < 1


def test_what_was_done_is_told(editor: Predictor) -> None:
    found = editor.edit(PIXELS, "make it brighter and pale zing")
    assert [step.split()[0] for step in found.steps] == ["brightness", "saturation"]
    assert found.unknown == ("zing",) and found.cut == ()
    assert found.words == ("make", "it", "brighter", "and", "pale", "zing")
    assert found.attention.shape == (2, 6) and torch.allclose(found.attention.sum(1), torch.ones(2))
    none = editor.edit(PIXELS, "nothing")
    assert none.steps == () and np.array_equal(none.image, PIXELS)
    assert np.array_equal(editor.edit(PIXELS, "pale", strength=0.0).image, PIXELS)


def test_an_editor_that_does_not_look_at_words_tells_steps_alone() -> None:
    model = tiny_editor(model={"decoder": {"attention": False}}).eval()
    with torch.no_grad():
        model.decoder.choice.bias[0] -= 9  # not to end at once
    found = decide(model, PIXELS, take_order(model, "much brighter", with_region=False))
    assert found.steps and found.reasons == () and found.attention is None
    assert found.lines == [f"{k}. {step}" for k, step in enumerate(found.steps, 1)]


def test_regions_in_python(editor: Predictor) -> None:
    inside = np.zeros((20, 30), bool)
    inside[5:9, 3:20] = True
    by_box = editor.edit(PIXELS, "make the dog darker", region=(3, 5, 20, 9))
    for region in (inside, torch.from_numpy(inside)):
        assert np.array_equal(editor.edit(PIXELS, "make the dog darker", region=region).image, by_box.image)
    assert ((by_box.image != PIXELS).any(2) <= inside).all() and (by_box.image != PIXELS).any()
    assert by_box.recipe.masks is not None and by_box.steps[0].endswith("in the region")


@pytest.mark.parametrize(
    ("image", "request_text", "options", "message"),
    [
        (PIXELS, "crop it", {}, "no edit of colours or sharpness"),
        (PIXELS, "brighten the car", {}, r"region=\.\.\."),
        (PIXELS, "zing", {}, "no word of 'zing' is known"),
        (PIXELS, 5, {}, "request must be a text, got int"),
        (PIXELS, "pale", {"strength": 2}, "strength must be from 0 to 1"),
        (PIXELS, "pale", {"region": (0, 0, 31, 5)}, "region must be x1, y1, x2, y2 inside of 30 x 20 pixels"),
        (PIXELS, "pale", {"region": np.ones((20, 90), bool)}, r"region must have the picture's aspect, \[20, 30\]"),
        (PIXELS, "pale", {"region": np.ones((20, 30))}, "region must be bool"),
        (PIXELS, "pale", {"region": "mask.png"}, r"region must be bool \[H, W\] or a box x1, y1, x2, y2, got str"),
        (torch.full((3, 4, 4), 200.0), "pale", {}, "an image of floats must be from 0 to 1"),
        (torch.full((3, 4, 4), float("nan")), "pale", {}, "an image of floats must be from 0 to 1"),
        (PIXELS, "pale", {"region": np.zeros((20, 30), bool)}, "at least one pixel"),
        (PIXELS.astype(np.float64), "pale", {}, "expected an image as path"),
        ("none.png", "pale", {}, "none.png: no such image"),
    ],
)
def test_what_python_refuses(
    editor: Predictor, image: Any, request_text: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        editor.edit(image, request_text, **options)


def test_other_systems_do_not_edit() -> None:
    with pytest.raises(ConfigError, match="is a model of centernet, which edits no pictures"):
        ldie.load("centernet", device="cpu").edit(PIXELS, "brighter")


def test_pairs_in_a_call(editor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    (one,) = editor((PIXELS, "make it darker"))
    assert one.steps.ops.tolist() == [EditOp.BRIGHTNESS] and one.image.shape == (3, 20, 30)
    region = np.zeros((20, 30), bool)
    region[:4] = True
    pairs = [(tmp_path / "photo.png", "make it darker"), (PLANES, "pale", region), EditInput(PLANES, "nothing")]
    found = editor(pairs, batch_size=2)
    assert [len(each.steps) for each in found] == [1, 1, 0]
    assert torch.equal(found[0].image, one.image) and torch.equal(found[1].image[:, 4:], PLANES[:, 4:])
    with pytest.raises(DataError, match=r"expected a picture with a request, \(picture, text\), got ndarray"):
        editor([PIXELS])
    with pytest.raises(DataError, match=r"expected a region bool \[20, 30\]"):
        editor((PIXELS, "pale", region[:3]))


def test_the_exported_graph_is_the_model(editor_run: Path, editor: Predictor, tmp_path: Path) -> None:
    out = tmp_path / "editor.pt2"
    assert main(["export", str(editor_run), "--format", "torch.export", "--out", str(out), "--batch-size", "2"]) == 0
    program = """
import json, sys, torch, ldie_ext.ops
extra = {"ldie.json": ""}
graph = torch.export.load(sys.argv[1], extra_files=extra).module()
notes, given = json.loads(extra["ldie.json"]), torch.load(sys.argv[2])
with torch.no_grad():
    torch.save([*graph(*given), notes["vocabulary"], notes["words"]], sys.argv[2])
assert "ldie" not in sys.modules
"""
    vocabulary = editor.model.vocabulary
    words = torch.zeros(2, MAX_WORDS + 2, dtype=torch.int64)
    for row, request in zip(words, ("make it pale and brighter", "darker"), strict=True):
        ids = vocabulary.encode(request).ids
        row[: len(ids)] = ids
    previews = torch.stack([torch.full((3, SIZE, SIZE), level, dtype=torch.uint8) for level in (60, 200)])
    given = [previews, words, torch.ones(2, SIZE, SIZE, dtype=torch.bool)]
    torch.save(given, tmp_path / "given.pt")
    subprocess.run([sys.executable, "-c", program, str(out), str(tmp_path / "given.pt")], check=True)
    ops, params, listed, note = torch.load(tmp_path / "given.pt")
    assert ops.tolist() == [[EditOp.SATURATION, EditOp.BRIGHTNESS, 0], [EditOp.BRIGHTNESS, 0, 0]]
    assert listed == list(vocabulary.words) and f": {START}, " in note and f" {END}, " in note
    expected = editor([(previews[0], "make it pale and brighter"), (previews[1], "darker")], 2)
    edited = apply_edits(previews, ops, params)
    assert torch.equal(edited, torch.stack([each.image for each in expected]))


def test_what_export_refuses(editor_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", editor_run, "--out", tmp_path / "out", "--format"]
    line = error_line(capsys, [*command, "torch.export", "--size", "64x64"])
    assert f"--size must be left out or {SIZE}x{SIZE}" in line
    pytest.importorskip("onnxscript")
    line = error_line(capsys, [*command, "onnx"])
    assert "no ONNX form, nor have ldie_ext.apply_edits; use --format torch.export" in line
    assert not (tmp_path / "out").exists()


def test_a_graph_that_decides_otherwise_is_seen() -> None:
    model = tiny_editor().eval()
    inputs = [EditInput(PLANES, "much brighter", torch.ones(20, 30, dtype=torch.bool)), EditInput(PLANES, "pale and")]
    made = model.exportable(None, 3, inputs)
    assert [example.name for example in made.examples] == ["noise", "requests of its data"]
    for example in made.examples:
        with torch.no_grad():
            ops, params = made.graph(*example.inputs)
        assert re.search(r"of 3 requests the same, parameters within (0|\de-0[789])$", example.compare((ops, params)))
        with pytest.raises(ExportError, match="1 of 3 requests have other steps"):
            example.compare((ops.index_fill(0, torch.tensor([1]), 9), params))
        with pytest.raises(ExportError, match=r"parameters differ by 0\.01"):
            example.compare((ops, params + 0.01))


def test_benchmark(editor_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--size", "40x60", "--repeats", "2", "--batch-size", "2", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", str(editor_run), *arguments]) == 0
    figures = json.loads(out.read_text())
    assert figures["system"] == "editing" and figures["latency_ms"]["median"] > 0
    assert [stage["name"] for stage in figures["stages"]] == ["read", "networks", "edit"]
