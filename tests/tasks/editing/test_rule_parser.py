# SPDX-License-Identifier: Apache-2.0
"""Requests that people make, and what the rules are to read in them; whatever else they read, it can be carried out."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from ldie.tasks.editing.metrics.request_metrics import edit_metrics
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSample
from ldie.tasks.editing.synedit.synedit_pairs import MAGNITUDES
from ldie.tasks.editing.words import rule_words
from ldie.tasks.editing.words.rule_actions import DOES, things_to_ask_for
from ldie.tasks.editing.words.rule_parser import parse_request, predict_by_rules
from ldie.tasks.editing.words.rule_words import WORDS, Role, read_words

from ldie_ext import EditOp, Recipe, RecipeStep, rle_encode
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

OPERATORS = ("BRIGHTNESS", "CONTRAST", "SATURATION", "SHARPNESS", "BLUR", "WHITE_BALANCE", "HUE", "BLACK_WHITE")
SHORT = {"b": "BRIGHTNESS", "c": "CONTRAST", "s": "SATURATION", "sh": "SHARPNESS", "bl": "BLUR", "h": "HUE"}

READ = {
    # one change, said in all ways
    "make it brighter": "b+1",
    "Brighten!": "b+1",
    "could you please make this photo look much sharper and a little darker?": "sh+2 b-0",
    "increase the brightness a lot": "b+2",
    "turn the brightness down": "b-1",
    "Brightness up a lot; saturation down a bit.": "b+2 s-0",
    "exposure down, contrast up": "b-1 c+1",
    "bring the contrast up": "c+1",
    "make the contrast stronger": "c+1",
    "the photo should be brightened and its contrast increased": "b+1 c+1",
    "dim the lights slightly": "b-0",
    "blur it": "bl+1",
    "add a bit of blur": "bl+0",
    "add some colour": "s+1",
    "change the hue": "h+1",
    # negation, and complaints
    "too dark": "b+1",
    "The photo is too dark and dull.": "b+1 s+1",
    "it's not bright enough": "b+1",
    "it is not sharp": "sh+1",
    "colors look washed out": "s+1",
    "the image is slightly blurry": "sh+0",
    "the contrast is too low": "c+1",
    "the saturation is too high": "s-1",
    "there is too much contrast": "c-1",
    "the picture has no contrast": "c+1",
    "not enough contrast": "c+1",
    "make it less bright": "b-1",
    "make it not so bright": "b-1",
    "less dark": "b+1",
    "reduce the darkness": "b+1",
    "increase the darkness": "b-1",
    "remove the blur": "sh+1",
    "fix overexposure": "b-1",
    "don't change the contrast, just brighten it": "b+1",
    "brighten it without changing the colors": "b+1",
    "make it sharper but don't touch the colours": "sh+1",
    "brighten it but not too much": "b+0",
    "make it brighter but not too bright": "b+0",
    # lists share what they have in common
    "increase brightness, contrast and saturation": "b+1 c+1 s+1",
    "increase the brightness and contrast slightly": "b+0 c+0",
    "a bit brighter and sharper": "b+0 sh+1",
    "less contrast and more saturation": "c-1 s+1",
    "less bright and vivid": "b-1 s-1",
    "reduce brightness and sharpen": "b-1 sh+1",
    "more contrast but less color": "c+1 s-1",
    # words that name other things
    "brighten the dark corner": "b+1",
    "make the red circle brighter": "b+1",
    "darken the highlights": "b-1",
    "the light is too harsh": "c-1",
    "brighter colors": "s+1",
    "soften the contrast": "c-1",
    "fix the dark photo": "b+1",
    "a bright picture": "b+1",
    # order
    "sharpen after brightening": "b+1 sh+1",
    "before sharpening, brighten it": "b+1 sh+1",
    "sharpen it, but first brighten the image": "b+1 sh+1",
    "finally sharpen, first add contrast": "c+1 sh+1",
    "add contrast then blur, after that darken": "c+1 bl+1 b-1",
    # said twice
    "it is too bright, please darken": "b-1",
    "slightly brighter, it is too dark": "b+0",
}


def steps(text: str) -> list[RecipeStep]:
    """Steps from a short form: operator, sign and level."""
    found = []
    for part in text.split():
        name, level = SHORT[part[:-2]], int(part[-1])
        sign = -1 if part[-2] == "-" else 1
        values = sorted(abs(v) for v in levels(name) if v * sign > 0)
        found.append(RecipeStep(name, (sign * values[level],)))
    return found


def levels(name: str) -> tuple[float, ...]:
    return MAGNITUDES[EditOp[name]]


@pytest.mark.parametrize("request_", READ, ids=lambda text: text.replace(" ", "_"))
def test_requests_are_read(request_: str) -> None:
    parsed = parse_request(request_, OPERATORS)
    assert parsed.refused is None
    assert list(parsed.steps) == steps(READ[request_])


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("make it warmer", (1.15, 1.0, 0.85)),
        ("cool it down a lot", (0.75, 1.0, 1.25)),
        ("slightly more red", (1.08, 0.96, 0.96)),
        ("remove the yellow tint", (0.925, 0.925, 1.15)),
        ("warmer, and a bit less blue", (1.19, 1.04, 0.77)),
    ],
)
def test_colours_are_white_balance_or_curves(text: str, factors: tuple[float, ...]) -> None:
    [step] = parse_request(text, OPERATORS).steps
    assert step.name == "WHITE_BALANCE" and step.params == pytest.approx(factors)
    [curves] = parse_request(text, ["COLOR_CURVE"]).steps
    first = torch.tensor(curves.params).view(3, 8)[:, :4].sum(1) - 4  # how far the middle is lifted
    assert (first.sign() == (torch.tensor(factors) - 1).sign()).all()


def test_percents() -> None:
    for text, value in {"brightness +20%": 0.2, "darken by 10 percent": -0.1, "contrast -30": -0.3}.items():
        assert [step.params for step in parse_request(text, OPERATORS).steps] == [(pytest.approx(value),)]
    assert parse_request("contrast +900%", OPERATORS).steps[0].params == (1.0,)  # the operator's limit


def test_other_operators_stand_in() -> None:
    for operators, name in ((["EXPOSURE"], "EXPOSURE"), (["LIGHTNESS", "HUE"], "LIGHTNESS"), (["TONE_CURVE"],) * 2):
        [step] = parse_request("make it brighter", operators).steps
        assert step.name == (name if isinstance(name, str) else name[0])
        recipe = Recipe([step])
        assert float(recipe.apply(torch.full((3, 1, 1), 0.4)).mean()) > 0.41
    assert parse_request("black and white", ["SATURATION"]).steps == (RecipeStep("SATURATION", (-1.0,)),)
    [curve] = parse_request("more contrast", ["TONE_CURVE"]).steps
    low, high = (float(Recipe([curve]).apply(torch.full((3, 1, 1), v)).mean()) for v in (0.25, 0.75))
    assert low < 0.24 and high > 0.76


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("crop the image", "'crop' is nothing that edits of colours and sharpness do"),
        ("brighten it and rotate it by 90 degrees", "'rotate' is nothing"),
        ("flipped horizontally please", "'flipped' is nothing"),
        ("replace the sky", "'replace' is nothing"),
        ("add a hat to the dog", "adding 'hat' is nothing"),
        ("change the sky to a sunset", "changing 'sky' into something else is nothing"),
        ("remove the car", "removing 'car' needs its place in the picture"),
        ("get rid of the red car and brighten", "removing 'car' needs its place in the picture"),
        ("erase it", "removing something needs its place in the picture"),
        ("change the background to white", "a white background needs its place in the picture"),
        ("remove the noise", "none of the operators here makes less noise"),
        ("make it pop", "no word of it says what to change"),
        ("improve the image", "no word of it says what to change"),
        ("don't make it darker", "no word of it says what to change"),
        ("", "no word of it says what to change"),
        ("?! 12", "no word of it says what to change"),
    ],
)
def test_what_cannot_be_done_is_refused(text: str, reason: str) -> None:
    parsed = parse_request(text, OPERATORS)
    assert parsed.steps == () and len(parsed.sequence) == 0
    assert parsed.refused is not None and parsed.refused.startswith(reason) and "\n" not in parsed.refused
    assert parsed.refused.endswith(
        "; ask for a brighter or darker picture, more or less contrast, more or less saturated colours or a sharper "
        "picture instead"
    )


def test_what_is_only_mentioned_is_not_refused() -> None:
    assert list(parse_request("do not crop it, just brighten", OPERATORS).steps) == steps("b+1")
    assert list(parse_request("without rotating, sharpen it", OPERATORS).steps) == steps("sh+1")


def test_objects_are_removed_where_their_place_is_known() -> None:
    operators = (*OPERATORS, "INPAINT_OBJ", "COLOR_BG")
    parsed = parse_request("remove the car, then brighten it", operators, region=True)
    assert [step.name for step in parsed.steps] == ["INPAINT_OBJ", "BRIGHTNESS"] and parsed.unknown == ("car",)
    Recipe(list(parsed.steps), rle_encode(torch.ones(1, 4, 4, dtype=torch.bool)))
    assert parsed.sequence.ops.tolist() == [1]  # what apply_edits does of it
    [white] = parse_request("make the background white", operators, region=True).steps
    assert white.name == "COLOR_BG"
    refused = parse_request("remove the car", OPERATORS, region=True).refused
    assert refused is not None and refused.startswith("removing 'car' needs INPAINT_OBJ")


def test_unknown_words_are_said() -> None:
    parsed = parse_request("Brighten the zebra's stripes and the ZEBRA, не ярче", OPERATORS)
    assert list(parsed.steps) == steps("b+1") and parsed.unknown == ("zebra's", "stripes", "zebra", "не", "ярче")


def test_words_have_one_meaning() -> None:
    times = Counter(word.text for word in rule_words.entries())
    assert [text for text, count in times.items() if count > 1] == []
    assert {word.quality for word in WORDS.values() if word.quality} <= DOES.keys()
    assert [read_words(text)[0].role for text in ("brightening", "dimmer", "blurrier", "reduces", "photos")] == [
        Role.VERB, Role.ADJECTIVE, Role.ADJECTIVE, Role.DIRECTION, Role.FILLER,
    ]  # fmt: skip


def test_any_words_give_steps_that_can_be_carried_out() -> None:
    """Each operator once, with numbers within its limits; or one line that says why not."""
    rng, texts = random.Random(0), [*WORDS, "car", "20%", "-300%", "brighter", "warmest"]
    everything = (*EDIT_KINDS, "INPAINT_OBJ", "DENOISE", "DEHAZE")
    mask = rle_encode(torch.ones(1, 4, 4, dtype=torch.bool))
    for trial in range(600):
        operators = rng.sample(everything, rng.randrange(len(everything) + 1)) if trial % 3 else everything
        text = " ".join(rng.choices(texts, k=rng.randrange(1, 12)))
        parsed = parse_request(text, operators, region=True)
        assert (parsed.refused is None) == bool(parsed.steps), text
        names = [step.name for step in parsed.steps]
        assert len(set(names)) == len(names) and set(names) <= set(operators), text
        Recipe(list(parsed.steps), mask)
        assert parsed.refused is None or "\n" not in parsed.refused


def test_rules_are_a_baseline_in_the_same_table() -> None:
    source = (torch.arange(3 * 8 * 8).view(3, 8, 8) % 200 + 20).to(torch.uint8)
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[2:6, 2:6] = True
    inputs = [EditInput(source, "make it brighter, then sharpen it a lot", region), EditInput(source, "crop it")]
    good, refused = predict_by_rules(inputs, OPERATORS)
    assert good.steps is not None and good.steps.ops.tolist() == [1, 6] and good.image is not None
    assert torch.equal(good.image[:, ~region], source[:, ~region]) and not torch.equal(good.image, source)
    assert refused == EditPrediction(refused.steps, refused.image, ("crop", "it"))
    assert refused.image is not None and torch.equal(refused.image, source)
    truth = [
        EditSample("0", source, inputs[0].request, good.image, region, good.steps),
        EditSample("1", source, inputs[1].request, source, None, refused.steps),
    ]
    metrics = edit_metrics(truth, [good, refused])
    assert metrics["actor/sequence_exact"] == 1 and metrics["actor/l1"] == metrics["actor/parameter_mae"] == 0


def test_what_to_ask_for() -> None:
    assert things_to_ask_for(["HUE", "NOTHING"]) == "other hues"
    assert things_to_ask_for(["BLUR", "HUE"]) == "a softer picture or other hues"
    assert things_to_ask_for(["ROTATE"]) == "what its operators do"
