# SPDX-License-Identifier: Apache-2.0
"""What a request asks for that no sequence of edits does: told by its words."""

from __future__ import annotations

import pytest
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.request_draws import RequestChoice, draw_request
from ldie.tasks.editing.synedit.synedit_scene import synedit_scene
from ldie.tasks.editing.words.asked import asked
from ldie.tasks.editing.words.vocabulary import build_vocabulary, tokenise

KNOWN = frozenset(
    tokenise(
        "make it is brighter darker the brighten add contrast remove blur disc red dark parts pop shadows lift of "
        "color photo bit little warmer warm tone everything but on much more too take all away fix sharpen edges"
    )
)


@pytest.mark.parametrize(
    "text",
    [
        "make it warmer and a bit brighter",
        "add a warm tone",
        "add pop",
        "lift the shadows",
        "brighten the dark parts",
        "the photo's color is too dark",
        "don't crop it, make it brighter",
        "make it brighter but keep the sky as it is",
        "remove the red tint",
        "take all color away",
        "make the whole picture brighter",
        "make the midtones darker",
        "give it the look of old film",
        "brighten it dramatically",
        "remove the motion blur",
    ],
)
def test_edits_of_the_whole_picture(text: str) -> None:
    found = asked(text, KNOWN)
    assert not found.impossible and not found.erased and not found.objects and found.without_names == text


@pytest.mark.parametrize(
    ("text", "objects", "plain"),
    [
        ("brighten the car", ["car"], "brighten it"),
        ("Brighten my Dog's fur please", ["fur"], "Brighten it please"),
        ("make the big red car completely dark", ["car"], "make it completely dark"),
        ("brighten faces", ["faces"], "brighten it"),
        ("make disc brighter", ["disc"], "make disc brighter"),
        ("everything but the disc brighter", ["disc"], "everything but the disc brighter"),
        ("make background darker", ["background"], "make it darker"),
        ("brighten the left", ["left"], "brighten it"),
        ("sharpen the edges of the house", ["house"], "sharpen the edges of it"),
        ("keep the sky, but brighten the rest", ["rest"], "keep the sky, but brighten it"),
        ("make the sky color warmer", ["sky"], "make it color warmer"),
        ("darken everything except the people", ["people"], "darken everything except it"),
    ],
)
def test_objects(text: str, objects: list[str], plain: str) -> None:
    found = asked(text, KNOWN)
    assert list(found.objects) == objects and not found.erased and found.without_names == plain


@pytest.mark.parametrize(
    ("text", "erased", "impossible"),
    [
        ("remove the car", ["car"], ""),
        ("please erase the old red car on the right", ["car"], ""),
        ("get rid of those people", ["people"], ""),
        ("remove it", ["it"], ""),
        ("erase", ["it"], ""),
        ("remove the blur", [], ""),
        ("remove red eyes", ["eyes"], ""),
        ("crop the photo", [], "crop"),
        ("brighten it and rotate it", [], "rotate"),
        ("add a hat", [], "add hat"),
        ("add the moon to it", [], "add moon"),
    ],
)
def test_what_edits_cannot_do(text: str, erased: list[str], impossible: str) -> None:
    found = asked(text, KNOWN)
    assert list(found.erased) == erased and found.impossible == impossible


def test_words_that_say_what_to_edit() -> None:
    assert asked("make the red car brighter, more contrast", KNOWN).telling == ("brighter", "contrast")
    assert asked("make it much more sepia", KNOWN).telling == () == asked("", KNOWN).telling
    assert asked("do not brighten it", KNOWN).telling == () == asked("don't brighten it", KNOWN).telling
    assert asked("do not brighten it, more contrast", KNOWN).telling == ("contrast",)


@pytest.mark.parametrize(
    ("text", "unheard"),
    [
        ("make it warmer but don't brighten it", "don't"),
        ("warmer, do not brighten it", "do not"),
        ("more contrast without changing the color", "without"),
        ("keep the color, but brighten it", "keep"),
        ("brighter rather than warmer", "rather than"),
        ("don't crop it, make it brighter", ""),
        ("keep the sky, but brighten the rest", ""),
        ("much darker", ""),
    ],
)
def test_what_is_to_be_left_alone_must_be_understood(text: str, unheard: str) -> None:
    assert asked(text, KNOWN).unheard == unheard
    assert asked(text, KNOWN.union(tokenise("don't do not without keep rather than"))).unheard == ""


@pytest.mark.parametrize("split", ["train", "paraphrase", "combination"])
def test_generated_requests_are_understood(split: str) -> None:
    """Those for whole pictures all pass, and nearly all that name an object are seen to."""
    requests = []
    for number in range(200):
        scene = synedit_scene(Draws(7, number, 0), 32)
        requests.append(draw_request(Draws(7, number, 1), scene.objects, RequestChoice(local=0.5), split))
    vocabulary = build_vocabulary((request.text for request in requests), min_count=1)
    named = missed = 0
    for request in requests:
        found = asked(request.text, vocabulary)
        assert not found.impossible and not found.erased and not found.unheard and found.telling, request.text
        if request.named < 0:
            assert not found.objects, request.text
        named, missed = named + (request.named >= 0), missed + (request.named >= 0 and not found.objects)
    assert named > 40 and missed <= named / 50
