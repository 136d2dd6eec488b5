# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from ldie.tasks.editing.synedit.draws import Draws


def test_numbers_are_pcg64s_own_bits() -> None:
    """The mapping from 53 of the 64 bits, written another way."""
    bits = np.random.PCG64(np.random.SeedSequence((2, 0, 3, 1, 4))).random_raw(6)
    expected = [1 + 2 * (int(word) // 2**11) / 2**53 for word in bits]
    assert Draws(3, 2**32 + 4).uniform(1, 3, 2, 3).ravel().tolist() == expected


def test_streams_depend_on_every_key() -> None:
    streams = [Draws(*keys).uniform(0, 1, 4).tolist() for keys in ((0,), (1,), (0, 1), (1, 0), (0, 0, 1), (2**32,))]
    assert len({tuple(stream) for stream in streams}) == len(streams)


def test_draws_cover_their_range_evenly() -> None:
    draws = Draws(1)
    counts = np.bincount([draws.below(5) for _ in range(5000)])
    assert len(counts) == 5 and abs(counts - 1000).max() < 150
    firsts = [tuple(draws.sample("abc", 2)) for _ in range(600)]
    assert len(set(firsts)) == 6 and all(a != b for a, b in firsts)
    assert min(firsts.count(pair) for pair in set(firsts)) > 60
    assert draws.pick("x") == "x"
