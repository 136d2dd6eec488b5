"""Negatives: of all kinds, no answers, the same every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from ldie.systems.edit_discriminator.recipe import SHARES
from ldie.tasks.editing.judges.negatives import (
    KINDS,
    LEAST_DISTANCE,
    OTHER_REQUEST,
    PICTURES,
    WithNegatives,
    asks_for_other,
    is_other,
    kind_of,
    negative_picture,
)
from ldie.tasks.editing.metrics.request_metrics import NEGATIVE
from ldie.tasks.editing.sample import EditSequence
from tasks.editing.small_requests import SmallRequests, sample

from ldie_ext import EditOp

OPS = (EditOp.BRIGHTNESS, EditOp.SATURATION)


def test_there_are_as_many_negatives_of_all_kinds_with_keys_of_their_own():
    data = WithNegatives(SmallRequests(24))
    samples = [data[index] for index in range(len(data))]
    assert len(samples) == len({each.key for each in samples}) == 48
    assert [each.kind == NEGATIVE for each in samples] == [False] * 24 + [True] * 24
    assert Counter(map(kind_of, samples[24:])) == dict.fromkeys(KINDS, 4)
    assert all(samples[index] is data.dataset[index] for index in range(24))
    assert data.operators == data.dataset.operators
    assert data.requests() == data.dataset.requests() * 2
    with pytest.raises(IndexError, match="below 48"):
        data[48]


def test_negatives_are_the_same_every_time():
    first, second = (WithNegatives(SmallRequests(12)) for _ in range(2))
    for index in range(23, 11, -1):  # in another order too
        a, b = first[index], second[index]
        assert (a.key, a.request) == (b.key, b.request)
        assert torch.equal(a.target, b.target)


def test_no_negative_is_an_answer():
    data = WithNegatives(SmallRequests(24))
    for index in range(24, 48):
        negative, answer = data[index], data[index - 24]
        kind = kind_of(negative)
        assert torch.equal(negative.source, answer.source)
        if kind == OTHER_REQUEST:
            assert negative.request != answer.request
            assert torch.equal(negative.target, answer.target)
        else:
            assert negative.request == answer.request
            assert negative.target.shape == answer.target.shape
            distance = (negative.target.float() - answer.target.float()).abs().mean() / 255
            assert distance >= LEAST_DISTANCE / 2  # of a region, half of the picture
            assert negative.steps is None
        if kind == "black":
            assert not negative.target.any()
        if kind == "constant":
            assert (negative.target == negative.target[:, :1, :1]).all()


def test_what_cannot_be_made_is_black():
    unchanged = replace(sample("brighter"), target=sample("brighter").source)
    kind, picture = negative_picture("earlier", unchanged, OPS, np.random.default_rng(0))
    assert kind == "black"
    assert not picture.any()
    assert not is_other(unchanged.source, unchanged)


def test_earlier_pictures_are_those_of_some_of_the_steps():
    both = sample("brighter and pale", 3)
    parts = [sample(word, 3).target for word in ("brighter", "pale")]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        picture = PICTURES["earlier"](both, OPS, rng)
        found = [index for index, part in enumerate([both.source, *parts]) if torch.equal(part, picture)]
        assert found
        seen.add(found[0])
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("kind", ["earlier", "amount", "random_edit"])
def test_edits_stay_in_the_region(kind):
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[4:, :8] = True
    local, rng = sample("brighter and pale", 2, region), np.random.default_rng(1)
    for _ in range(10):
        picture = PICTURES[kind](local, OPS, rng)
        assert torch.equal(picture[:, ~region], local.source[:, ~region])


def test_other_requests_differ_in_words_and_in_steps():
    bright, again = sample("brighter", 0), sample("brighter", 1)
    assert not asks_for_other(bright, again)
    assert not asks_for_other(bright, replace(again, request="more light"))
    assert asks_for_other(bright, sample("darker", 1))
    assert asks_for_other(bright, sample("pale", 1))
    assert not asks_for_other(bright, replace(sample("darker", 1), request="Brighter!"))  # as much as the picture needs
    assert asks_for_other(replace(bright, steps=None), sample("darker", 1))
    assert not asks_for_other(sample("brighter and pale"), sample("pale and brighter", 1))
    assert asks_for_other(bright, replace(sample("darker"), steps=EditSequence.empty()))


def test_every_kind_of_picture_is_learned_from():
    assert SHARES.keys() == PICTURES.keys()
    assert sum(SHARES.values()) == pytest.approx(1)
