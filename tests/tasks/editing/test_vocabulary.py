# SPDX-License-Identifier: Apache-2.0
"""Words of requests and their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldie.errors import ConfigError
from ldie.tasks.editing.words.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, build_vocabulary, tokenise


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Brighten   the\tImage.\n", ["brighten", "the", "image"]),
        ("slightly-warmer; brighter/darker", ["slightly", "warmer", "brighter", "darker"]),
        ("bright.Then crop", ["bright", "then", "crop"]),
        ("don't, don\u2019t make it B&W", ["dont", "dont", "make", "it", "bw"]),
        ("a bit \u2014 50% 2x brighter (much)", ["bit", "brighter", "much"]),
        ("Caf\u00e9 cafe\u0301", ["caf\u00e9", "caf\u00e9"]),
        ("a I 7 !", []),
        ("", []),
        ("zero\u200bwidth no\u00a0break", ["zero", "width", "no", "break"]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert tokenise(text) == words


@given(st.text())
def test_words_are_words_of_themselves(text: str) -> None:
    """Whatever a request has in it can stand in a vocabulary, and is found there again."""
    words = list(dict.fromkeys(tokenise(text)))
    if words:
        read = Vocabulary(words).encode(text, max_words=None)
        assert not read.unknown and Vocabulary(words).decode(read.ids.tolist()) == tokenise(text)


def test_order_is_by_frequency_then_alphabet_and_not_by_place() -> None:
    requests = ["warm cold cold", "warm blue cold", "warm blue rare"]
    assert build_vocabulary(requests, min_count=2).words == ("cold", "warm", "blue")
    assert build_vocabulary(reversed(requests), min_count=2).words == ("cold", "warm", "blue")


def test_three_times_is_the_least_unless_asked_otherwise() -> None:
    requests = ["twice twice thrice thrice thrice"]
    assert build_vocabulary(requests).words == ("thrice",)
    assert build_vocabulary(requests, min_count=1).words == ("thrice", "twice")


def test_lists_of_names_are_merged() -> None:
    """Their words are in however rare, once, and at the place that the requests' counts give them."""
    found = build_vocabulary(["the person the person sky"], ["person", "traffic light"], ["sky-other-merged"])
    assert found.words == ("person", "sky", "light", "merged", "other", "traffic")


def test_numbers() -> None:
    words = Vocabulary(["make", "brighter"])
    read = words.encode("Make everything brighter!")
    assert read.ids.tolist() == [START, 4, UNKNOWN, 5, END] and read.words == ("make", "everything", "brighter")
    assert read.unknown == ("everything",) and read.cut == () and read.skipped == ()
    assert len(words) == 6 and "make" in words and "everything" not in words
    assert words.decode([PAD, START, 5, UNKNOWN, 4, END]) == ["brighter", "make"]
    with pytest.raises(ConfigError, match="0 to 5"):
        words.decode([6])


def test_what_is_cut_is_said() -> None:
    words = [letter * 2 for letter in "abcdefghijklmnopqr"]
    read = Vocabulary(words).encode(" ".join(words))
    assert read.ids.tolist() == [START, *range(4, 19), END] and read.cut == ("pp", "qq", "rr")
    assert Vocabulary(words).encode(" ".join(words), max_words=17).cut == ("rr",)
    assert Vocabulary(words).encode(" ".join(words), max_words=None).cut == ()
    with pytest.raises(ConfigError, match="max_words"):
        Vocabulary(words).encode("aa", max_words=0)


def test_numbers_in_a_request_are_said_to_be_skipped() -> None:
    read = Vocabulary(["brighter"]).encode("a 50% brighter, 2x")
    assert read.skipped == ("50", "2x") and read.words == ("brighter",)


def test_a_request_without_words() -> None:
    assert Vocabulary(["it"]).encode("! 7 a").ids.tolist() == [START, END]


def test_names_of_special_tokens_are_words_as_others() -> None:
    read = Vocabulary(["pad", "start", "end", "unk"]).encode("<start> the end unk pad <pad>")
    assert read.ids.tolist() == [START, 5, UNKNOWN, 6, 7, 4, 4, END]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "at least one"),
        (["it", "sky", "it"], "'it' twice"),
        (["It"], "'It'"),
        (["<pad>"], "'<pad>'"),
        (["two words"], "'two words'"),
        (["x"], "'x'"),
        ([7], "got 7"),
    ],
)
def test_words_that_cannot_be(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Vocabulary(words)


def test_no_words_to_build_of() -> None:
    with pytest.raises(ConfigError, match="3 times"):
        build_vocabulary(["one request"])
