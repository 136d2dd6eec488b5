# SPDX-License-Identifier: Apache-2.0
"""Words of requests, and their numbers."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldie.errors import ConfigError

PAD, START, END, UNKNOWN = range(4)
SPECIAL = 4
"""How many numbers come before those of words."""
MAX_WORDS = 15
"""Of a request that are read unless another number is asked for: the published one."""

_JOINING = str.maketrans(dict.fromkeys("'\u2018\u2019\u02bc\u00ad&", ""))


def tokenise(text: str) -> list[str]:
    """The words of a text: lower case, letters only, at least two of them; the rest is left out.

    Words end at white space, punctuation and symbols, so that "slightly-warmer" and "brighter/warmer" are two words
    each, and "bright.Then" is not one that nobody has seen; apostrophes and "&" join ("don't", "b&w"). What has digits
    in it, as "50%" or "2x", is no word. The published tokeniser differs in the first only: there all punctuation joins.

    Example:
        >>> tokenise("Make it slightly-warmer, don't over-do it; a 20% boost!")
        ['make', 'it', 'slightly', 'warmer', 'dont', 'over', 'do', 'it', 'boost']
    """
    return [token for token in _pieces(text) if token.isalpha() and len(token) > 1]


def _pieces(text: str) -> list[str]:
    joined = unicodedata.normalize("NFKC", text).lower().translate(_JOINING)
    return "".join(" " if unicodedata.category(letter)[0] in "PSZC" else letter for letter in joined).split()


@dataclass(frozen=True)
class EncodedRequest:
    """A request as a model reads it, and what it does not read."""

    ids: Tensor
    """int64 [words + 2]: START, the words' numbers, END."""
    words: tuple[str, ...]
    """Those that ``ids`` has."""
    unknown: tuple[str, ...] = ()
    """Those of them that the vocabulary has not: UNKNOWN in ``ids``."""
    cut: tuple[str, ...] = ()
    """Words behind the last that was read."""
    skipped: tuple[str, ...] = ()
    """What is no word: numbers, and what has digits in it."""


class Vocabulary:
    """Words with numbers from :data:`SPECIAL` on; below are PAD, START, END and UNKNOWN, which are no words.

    So a request may have the word "end" in it: it never gets the number of END.

    Args:
        words: Different ones, each as :func:`tokenise` has it; their order is that of their numbers.

    Raises:
        ConfigError: None, one twice, or one that no request could have.

    Example:
        >>> read = Vocabulary(["brighter", "make", "it"]).encode("Make it 20% brighter and crisper", max_words=5)
        >>> read.ids.tolist(), read.unknown, read.cut, read.skipped
        ([1, 5, 6, 4, 3, 3, 2], ('and', 'crisper'), (), ('20',))
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        if not self.words:
            raise ConfigError("words must be at least one, got none; build the vocabulary of requests that have some")
        self._ids = {word: number for number, word in enumerate(self.words, start=SPECIAL)}
        if len(self._ids) < len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ConfigError(f"words must be different, got {twice!r} twice; leave one out")
        for word in self.words:
            if not isinstance(word, str) or tokenise(word) != [word]:
                raise ConfigError(
                    f"words must be as requests are split into them, lower-case letters, at least two, got {word!r}; "
                    "leave it out"
                )

    def __len__(self) -> int:
        """Numbers in use, those of the special tokens too: rows of an embedding."""
        return SPECIAL + len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def encode(self, text: str, max_words: int | None = MAX_WORDS) -> EncodedRequest:
        """A request's numbers; one without words is START, END.

        Args:
            text: The request.
            max_words: More are cut, and said to be; None: as many as there are.

        Raises:
            ConfigError: ``max_words`` below 1.
        """
        if max_words is not None and max_words < 1:
            raise ConfigError(f"max_words must be at least 1, got {max_words}")
        pieces = _pieces(text)
        words = [piece for piece in pieces if piece.isalpha() and len(piece) > 1]
        read, cut = words[:max_words], words[len(words) if max_words is None else max_words :]
        numbers = [self._ids.get(word, UNKNOWN) for word in read]
        return EncodedRequest(
            torch.tensor([START, *numbers, END]),
            tuple(read),
            tuple(word for word, number in zip(read, numbers, strict=True) if number == UNKNOWN),
            tuple(cut),
            tuple(piece for piece in pieces if not piece.isalpha()),
        )

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The words of some numbers, without special ones.

        Raises:
            ConfigError: A number that no word has.
        """
        if not all(0 <= number < len(self) for number in ids):
            raise ConfigError(f"ids must be from 0 to {len(self) - 1}, got {list(ids)}")
        return [self.words[number - SPECIAL] for number in ids if number >= SPECIAL]


def build_vocabulary(requests: Iterable[str], *more: Iterable[str], min_count: int = 3) -> Vocabulary:
    """The words of requests, the most frequent first, those that are equally frequent in alphabetical order.

    Args:
        requests: Texts.
        more: Lists of names, such as classes of objects, whose words are taken however seldom requests have them.
        min_count: How often requests must have a word.

    Raises:
        ConfigError: There is no such word.

    Example:
        >>> build_vocabulary(["a bit brighter", "brighter", "a bit darker"], ["traffic light"], min_count=2).words
        ('bit', 'brighter', 'light', 'traffic')
    """
    counts = Counter(word for request in requests for word in tokenise(request))
    wanted = {word for names in more for name in names for word in tokenise(name)}
    kept = {word for word, count in counts.items() if count >= min_count} | wanted
    if not kept:
        raise ConfigError(f"no word occurs {min_count} times in the requests; give more of them or a lower min_count")
    return Vocabulary(sorted(kept, key=lambda word: (-counts[word], word)))
