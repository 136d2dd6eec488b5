# SPDX-License-Identifier: Apache-2.0
"""Pages of requests and of runs: what is on them, in which order, and that any text is text there."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.errors import DataError
from ldie.tasks.editing.pages.request_pages import request_page, worst_first
from ldie.tasks.editing.pages.run_index import index_of_runs, write_index
from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.sample import EditPrediction, EditSample, EditSequence
from PIL import Image

from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

HOSTILE = "<script>alert('&\"')</script>\n\u202eétoile"
VOID = {"meta", "img", "br", "polyline"}


class Page(HTMLParser):
    """Checks that tags close in order and counts them; gathers pictures, links and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.pictures: list[tuple[str, Image.Image]] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.steps: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            kind, _, data = (values["src"] or "").partition(",")
            assert re.fullmatch("data:image/(png|jpeg);base64", kind)
            self.pictures.append((values["alt"] or "", Image.open(io.BytesIO(base64.b64decode(data)))))
        if tag == "a":
            self.links.append(values["href"] or "")
        if "data-step" in values:
            self.steps.append(f"{tag} {values['data-step']}")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def sequence(*steps: tuple[EditOp, float]) -> EditSequence:
    rows = [EDIT_OPERATORS[op].row(value) for op, value in steps]
    return (
        EditSequence(torch.tensor([int(op) for op, _ in steps]), torch.stack(rows)) if steps else EditSequence.empty()
    )


def sample(
    key: str, steps: EditSequence, request: str = "brighten it", region: torch.Tensor | None = None
) -> EditSample:
    places = torch.arange(3 * 12 * 16).view(3, 12, 16)
    source = (places * 37 % 200 + 20).to(torch.uint8)
    return EditSample(key, source, request, replayed(source, steps, region), region, steps)


def prediction(of: EditSample, steps: EditSequence, names: tuple[str, ...] = ("brighten", "it")) -> EditPrediction:
    attention = torch.softmax(torch.arange(float(len(steps) * len(names))).view(len(steps), len(names)), 1)
    return EditPrediction(steps, replayed(of.source, steps, of.region), names, attention)


def test_every_step_is_shown_and_what_it_came_from() -> None:
    steps = sequence((EditOp.BRIGHTNESS, 0.3), (EditOp.CONTRAST, -0.5))
    one = sample("a", steps)
    page = Page(
        request_page("tiny", [one], [prediction(one, steps)], {"actor/set_exact": 1.0, "actor/recall-HUE": 0.5})
    )
    assert [name for name, _ in page.pictures] == ["input", "step 1", "step 2", "target"]
    pixels = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) for _, image in page.pictures]
    wanted = [replayed(one.source, EditSequence(steps.ops[:k], steps.params[:k])) for k in range(3)]
    assert all(torch.equal(*pair) for pair in zip(pixels, [*wanted, one.target], strict=True))
    assert page.steps == ["figure 0", "figure 1", "tr 0", "tr 1"]
    assert "step 2 · output" in page.text and "BRIGHTNESS +0.3" in page.text and "L1 0." in page.text
    assert "meant: brightness +0.3; contrast -0.5" in page.text and "1 of 1 requests" in page.text
    assert "actor set exact 1" in page.text and "HUE" not in page.text
    assert "% from brighten it 1 brightness 27 73 2 contrast 27 73" in page.text  # softmax of neighbours


def test_the_worst_are_first_and_the_rest_is_left_out() -> None:
    still = sequence((EditOp.BRIGHTNESS, 0.3))
    samples = [sample(f"number {k}", still) for k in range(4)]
    samples.append(EditSample("without target", samples[0].source, "brighten it"))
    strengths = [0.25, 0.3, -0.5, 0.1, 0.9]
    found = [prediction(s, sequence((EditOp.BRIGHTNESS, p))) for s, p in zip(samples, strengths, strict=True)]
    assert worst_first(samples, found) == [2, 3, 0, 1, 4]
    page = Page(request_page("t", samples, found, most=2))
    assert page.tags["section"] == 2 and "2 of 5 requests, the worst first" in page.text
    assert page.text.index("number 2") < page.text.index("number 3") and "number 0" not in page.text
    with pytest.raises(ValueError):
        request_page("t", samples, found[:-1])


def test_any_text_is_text() -> None:
    one = sample(HOSTILE, sequence((EditOp.HUE, 0.2)), HOSTILE)
    html = request_page(HOSTILE, [one], [prediction(one, sequence((EditOp.HUE, 0.1)), (HOSTILE, "b"))], {HOSTILE: 0.5})
    page = Page(html)
    assert page.tags["script"] == 1 and html.count("</script>") == 1
    assert "<script>alert('&\"')</script>\\n\\u202e" in page.text
    assert not re.search(r"(?:src|href)=\"(?!data:)", html) and "http" not in html


def test_predictions_without_some_of_it() -> None:
    one, empty = sample("a", sequence((EditOp.BRIGHTNESS, 0.3))), EditSequence.empty()
    for found, names in (
        (EditPrediction(), ["input", "target"]),
        (EditPrediction(steps=sequence((EditOp.BLUR, 0.5))), ["input", "step 1", "target"]),
        (EditPrediction(image=one.target), ["input", "output", "target"]),
        (prediction(one, empty), ["input", "output (no steps)", "target"]),
        (EditPrediction(sequence((EditOp.BLUR, 0.5)), one.target), ["input", "step 1", "output", "target"]),
    ):
        assert [name for name, _ in Page(request_page("t", [one], [found])).pictures] == names
    assert Page(request_page("t", [], [])).text == "t t 0 of 0 requests"
    bare = EditSample("b", one.source, "brighten it")
    shown = Page(request_page("t", [bare], [prediction(bare, empty)])).pictures
    assert [name for name, _ in shown] == ["input", "output (no steps)"]


@pytest.mark.parametrize("outside", [False, True])
def test_regions_are_outlined(outside: bool) -> None:
    region = torch.full((12, 16), outside)
    region[3:9, 4:12] = not outside
    one = sample("a", sequence((EditOp.BRIGHTNESS, 0.3)), region=region)
    page = Page(request_page("t", [one], [prediction(one, sequence((EditOp.BRIGHTNESS, 0.3)))]))
    assert page.pictures[0][0] == f"input; edits act {'outside' if outside else 'inside'} the line"
    changed = (torch.from_numpy(np.array(page.pictures[0][1])).permute(2, 0, 1) != one.source).any(0)
    assert bool(changed.any()) and bool((changed <= region).all())


def test_large_pictures_are_small_files_and_curves_are_drawn() -> None:
    source = torch.randint(256, (3, 700, 900), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one = EditSample("a", source, "curve it", None, None, None)
    steps = EditSequence(torch.tensor([5]), torch.linspace(0.5, 1.5, 24)[None])
    html = request_page("t", [one], [EditPrediction(steps)])
    page = Page(html)
    assert max(max(image.size) for _, image in page.pictures) == 256 and len(html) < 200_000
    assert page.tags["polyline"] == 1 and "TONE_CURVE a curve" in page.text


def run(folder: Path, metrics: object, page: bool = True) -> Path:
    (folder / "pictures").mkdir(parents=True)
    if metrics is not None:
        (folder / "metrics.json").write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))
    if page:
        (folder / "requests.html").write_text("<p>")
        Image.new("RGB", (800, 600), "red").save(folder / "pictures" / "edits.png")
    return folder


def test_index_of_runs(tmp_path: Path) -> None:
    first = run(tmp_path / "runs" / "a & <b> #1", {"actor/l1": 0.01234567, "actor/recall-HUE": 1.0})
    second = run(tmp_path / "runs" / "second", {"actor/set_exact": 0.5, "actor/l1": 2}, page=False)
    third = run(tmp_path / "runs" / "still trains", None, page=False)
    page = Page(index_of_runs([first, second, third], tmp_path / "pages"))
    assert page.text == ("3 runs 3 runs run actor l1 actor set exact a & <b> #1 0.01235 second 2 0.5 still trains")
    assert page.links == ["../runs/a%20%26%20%3Cb%3E%20%231/requests.html"]
    assert [image.size for _, image in page.pictures] == [(300, 75)]
    write_index([second], tmp_path / "index.html")
    assert Page((tmp_path / "index.html").read_text()).text == "1 run 1 run run actor set exact actor l1 second 0.5 2"
    assert "no runs" in Page(index_of_runs([], tmp_path)).text


@pytest.mark.parametrize("metrics", ["", "[1]", '{"a": "b"}', '{"a": NaN}', '{"a": true}'])
def test_damaged_metrics_are_named(tmp_path: Path, metrics: str) -> None:
    folder = run(tmp_path / "run", metrics)
    with pytest.raises(DataError, match=r"run/metrics\.json: (cannot be read|must hold numbers by name)"):
        write_index([folder], tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing: no such folder; name the folders of runs"):
        index_of_runs([tmp_path / "nothing"], tmp_path)
    folder = run(tmp_path / "run", {})
    (folder / "pictures" / "edits.png").write_text("no picture")
    with pytest.raises(DataError, match=r"edits\.png: not a readable image"):
        index_of_runs([folder], tmp_path)
