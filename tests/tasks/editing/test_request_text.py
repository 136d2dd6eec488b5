# SPDX-License-Identifier: Apache-2.0
"""Requests in words: one right answer each, short, and of words that training has."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch
from ldie.errors import ConfigError
from ldie.tasks.editing.synedit import request_text
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.request_bank import PLACE, bank
from ldie.tasks.editing.synedit.request_draws import ASKED, DrawnRequest, RequestChoice, draw_request
from ldie.tasks.editing.synedit.request_edits import fixing_brightness
from ldie.tasks.editing.synedit.request_objects import name_of
from ldie.tasks.editing.synedit.request_phrases import AIMS, DEGREES, FIX, SPELLINGS
from ldie.tasks.editing.synedit.request_plans import CONTRADICTIONS, HELD_ORDERS, HELD_PAIRS, SPLITS, plans
from ldie.tasks.editing.synedit.scene import COLUMNS, ROWS, SceneObject

from ldie_ext import EditOp, apply_edits

TEN = (
    "increase brightness", "decrease brightness", "enhance color", "decrease color", "improve contrast",
    "reduce contrast", "increase saturation", "reduce saturation", "brightness a little", "brightness a lot",
)  # fmt: skip
"""Those by which the variance of answers is measured."""
SCENE = (
    SceneObject("disc", (0, 0, 4, 4), "top left", "red", "small"),
    SceneObject("disc", (9, 0, 14, 4), "top", "blue", "small"),
    SceneObject("rectangle", (9, 9, 19, 19), "centre", "blue", "large"),
    SceneObject("rectangle", (0, 22, 9, 31), "bottom left", "white", "medium"),
)


def drawn(split: str, count: int, choice: RequestChoice | None = None) -> list[DrawnRequest]:
    return [draw_request(Draws(SPLITS.index(split), i), SCENE, choice or RequestChoice(), split) for i in range(count)]


@pytest.fixture(scope="module")
def train() -> list[DrawnRequest]:
    return drawn("train", 8000)


def expansions(text: str) -> set[str]:
    """All that a phrase for the whole picture can become, where it is called "it"."""
    place = PLACE.search(text)
    if place is None:
        return {" ".join(text.split())}
    name = place[1]
    ways = {"it": ("it",), "the": ("the", ""), "of": ("",), **SPELLINGS}.get(name) or [
        word for degree in DEGREES[name] for word in degree
    ]
    return {full for way in ways for full in expansions(text[: place.start()] + way + text[place.end() :])}


def phrases(held: bool) -> dict[str, set[int]]:
    """The aims that each phrase of the bank asks for."""
    found: dict[str, set[int]] = {}
    for number, aim in enumerate((*AIMS, FIX)):
        for group in bank(aim, held):
            for phrase in group:
                for text in expansions(phrase.text):
                    found.setdefault(text, set()).add(number)
    return found


def test_no_phrase_asks_for_two_things_and_none_is_both_held_and_seen() -> None:
    seen, held = phrases(False), phrases(True)
    assert all(len(aims) == 1 for aims in [*seen.values(), *held.values()])
    assert not seen.keys() & held.keys()
    assert set(TEN) <= seen.keys()


def test_each_aim_has_ten_phrases_and_some_that_are_held_out() -> None:
    for aim in (*AIMS, FIX):
        seen, held = (sum(map(len, bank(aim, kind))) for kind in (False, True))
        assert seen >= 10 and held >= 5, aim
        for degree in (0, 1, 2) if len(aim.levels) == 3 else (1,):
            for kind in (False, True):
                assert any(phrase.fits(degree) and phrase.command for group in bank(aim, kind) for phrase in group)


def test_the_documentation_counts_right() -> None:
    seen, held = (sum(len(group) for aim in (*AIMS, FIX) for group in bank(aim, kind)) for kind in (False, True))
    page = Path(__file__).parents[3] / "docs" / "synedit.md"
    assert f"| in all | | {seen:,}, {held} |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("split", SPLITS)
def test_requests_are_short_plain_words(split: str) -> None:
    for request in drawn(split, 300):
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", request.text) and len(request.text.split()) <= 15
        assert request.kind in ("plain", "fix", "referring") and len(request.asks) <= 3


def test_held_out_phrases_have_no_new_words(train: list[DrawnRequest]) -> None:
    counts = Counter(word for request in train for word in request.text.replace(",", "").split())
    assert min(counts.values()) > 2, "a vocabulary leaves out what is rare"
    for split in SPLITS[1:]:
        assert {word for request in drawn(split, 1000) for word in request.text.replace(",", "").split()} <= set(counts)
    assert not {request.text for request in train} & {request.text for request in drawn("paraphrase", 1000)}


def test_held_out_combinations_are_in_no_other_split(train: list[DrawnRequest]) -> None:
    held = [[ask.aim.op for ask in request.asks] for request in drawn("combination", 300)]
    seen = [[ask.aim.op for ask in request.asks] for request in train]
    seen += [[ask.aim.op for ask in request.asks] for split in ("val", "paraphrase") for request in drawn(split, 300)]
    pairs = {pair for ops in seen for pair in combinations(ops, 2)}
    assert all(any(pair not in pairs for pair in combinations(ops, 2)) for ops in held)
    together = {frozenset(pair) for pair in pairs}
    assert not together & {frozenset(pair) for pair in (*HELD_PAIRS, *CONTRADICTIONS)}
    assert not pairs & set(HELD_ORDERS) and {(b, a) for a, b in HELD_ORDERS} <= pairs
    assert {op for ops in seen for op in ops} == set(ASKED)
    assert not any(pair <= set(ops) for pair in CONTRADICTIONS for ops in held)


def test_shares(train: list[DrawnRequest]) -> None:
    named = sum(request.named >= 0 for request in train) / len(train)
    brightness = [ask.aim is FIX for request in train for ask in request.asks if ask.aim.op is EditOp.BRIGHTNESS]
    assert named == pytest.approx(0.2, abs=0.02) and sum(brightness) / len(brightness) == pytest.approx(1 / 3, abs=0.04)
    assert sum(request.outside for request in train) / len(train) == pytest.approx(0.1, abs=0.02)


def test_few_operators_will_do() -> None:
    scalars = RequestChoice((EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.SHARPNESS))
    assert all(plans(scalars.operators, scalars.steps, split) for split in SPLITS)
    alone = RequestChoice((EditOp.BLACK_WHITE,), steps=(1, 3), local=1)
    assert {len(request.asks) for request in drawn("paraphrase", 20, alone)} == {1}


def test_steps_that_the_words_do_not_do_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_text, "MOST_WORDS", 1)
    with pytest.raises(ConfigError, match=r"steps must be few enough for a request of 15 words, got \(2, 2\)"):
        drawn("combination", 1, RequestChoice(steps=(2, 2)))


def matching(name: str) -> list[SceneObject]:
    """The objects of the scene of which a name is true, word for word."""
    words = set(name.split()) - {"the", "at", "on", "in"}
    said = {"circle": "disc", "box": "rectangle"}
    words = {said.get(word, word) for word in words}
    places = words & ({*ROWS, *COLUMNS} - {"middle", "centre"})
    traits = words - places - {"middle"}
    return [
        item
        for item in SCENE
        if traits <= {item.name, item.colour, item.size}
        and places <= set(item.position.split())
        and ("middle" in words) <= (item.position == "centre")
    ]


def test_a_name_is_that_of_one_object() -> None:
    for index in range(len(SCENE)):
        names = {name_of(Draws(i), SCENE, index) for i in range(60)}
        assert len(names) > 3 and all(matching(str(name)) == [SCENE[index]] for name in names)
    assert "the disc at the top" not in {name_of(Draws(i), SCENE, 1) for i in range(60)}, "so is the one at top left"
    assert name_of(Draws(0), (SceneObject("cat", (0, 0, 1, 1), "left"),) * 2, 0) is None


def test_a_named_object_is_the_region_or_is_outside_of_it(train: list[DrawnRequest]) -> None:
    masks = torch.rand(len(SCENE), 5, 5) > 0.5
    for request in train[:300]:
        region = request.region(masks)
        if request.named < 0:
            assert region.all()
        else:
            assert torch.equal(region ^ masks[request.named], torch.full((5, 5), request.outside))
            assert bool(re.search(r"\b(but|except|outside)\b.* (disc|circle|rectangle|box)\b", request.text)) or (
                not request.outside
            )


def picture() -> torch.Tensor:
    return torch.randint(30, 200, (1, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def luminance(image: torch.Tensor) -> torch.Tensor:
    return (image.double() * torch.tensor([0.27, 0.67, 0.06]).double()[:, None, None]).sum(-3) / 255


def edited(image: torch.Tensor, op: EditOp, values: tuple[float, ...]) -> torch.Tensor:
    params = torch.zeros(1, 1, 24)
    params[0, 0, : len(values)] = torch.tensor(values)
    return apply_edits(image, torch.tensor([[op]]), params)


def test_warmth_moves_red_against_blue_and_not_the_light() -> None:
    changes = []
    for aim in (aim for aim in AIMS if aim.op is EditOp.WHITE_BALANCE):
        for values in aim.levels:
            after = edited(picture(), aim.op, values)
            assert (luminance(after) - luminance(picture())).mean().abs() < 0.004
            moved = (after.double() - picture().double()).mean((0, 2, 3))
            changes.append(float(moved[0] - moved[2]))
    assert changes[:3] == sorted(changes[:3]) and changes[0] > 3, "warmer and warmer"
    assert changes[3:] == sorted(changes[3:], reverse=True) and changes[3] < -3, "cooler and cooler"


def test_looks_change_the_shadows_or_the_highlights() -> None:
    looks = [aim for aim in AIMS if aim.op is EditOp.TONE_CURVE]
    grey = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256).contiguous()
    for look, (where, sign) in zip(looks, (("low", 1), ("low", -1), ("high", 1), ("high", -1)), strict=True):
        for weak, strong in zip(look.levels, look.levels[1:], strict=False):
            assert sum(weak) == pytest.approx(8, abs=1e-3)
            low, high = ((edited(grey, look.op, v).int() - grey.int())[0, 0, 0] * sign for v in (weak, strong))
            changed, kept = (slice(20, 90), slice(192, 256)) if where == "low" else (slice(166, 236), slice(0, 64))
            assert (low[changed] > 3).all() and (high[kept] == 0).all()
            assert (high[changed] > low[changed]).all()


def test_what_fixing_needs() -> None:
    assert fixing_brightness(torch.full((3, 5), 110, dtype=torch.uint8)) == pytest.approx(0.275)
    assert fixing_brightness(torch.zeros(3, 5, dtype=torch.uint8)) == 2, "black stays black"
    assert fixing_brightness(torch.tensor([[0, 255], [0, 0], [0, 0]], dtype=torch.uint8)) == 2, "half of it, too"
    assert fixing_brightness(torch.full((3, 5), 5, dtype=torch.uint8)) == 2, "the operator's limit"
    for top in (80, 120, 255):
        pixels = torch.randint(0, top, (3, 4000), generator=torch.Generator().manual_seed(top), dtype=torch.uint8)
        value = pixels.amax(0).double() / 255
        factor = 1 + fixing_brightness(pixels)
        assert (value * factor).clamp(max=1).mean() == pytest.approx(0.55, abs=1e-3)
