# SPDX-License-Identifier: Apache-2.0
"""What data sets of requests have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from ldie.errors import DataError
from ldie.tasks.editing.sample import EditSample
from ldie.tasks.editing.words.vocabulary import Vocabulary


class Samples(Protocol):
    """Samples by index, each read anew, as they may be more than there is memory for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> EditSample: ...


class RequestSource(Samples, Protocol):
    """Requests by index, each read anew, as they are in files."""

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Names in ``EditOp`` of the operators that its steps use."""

    def requests(self) -> Iterable[str]:
        """All requests, without a picture being opened."""


class EditDataset(RequestSource, Protocol):
    """Requests as a configuration asks for them."""

    def vocabulary(self) -> Vocabulary:
        """The words that are known to a model which learns from it.

        Raises:
            ConfigError: There are none.
            DataError: A file of words cannot be read.
        """


def check_requests(dataset: RequestSource) -> None:
    """Raises a DataError where there are no requests to train on."""
    if len(dataset) == 0:
        raise DataError(f"{dataset.origin}: has no requests to train on; give other data or another dataset.mode")


def each_of(samples: Samples) -> Iterator[EditSample]:
    """One after the other; none is kept."""
    return (samples[index] for index in range(len(samples)))


def labels_of(dataset: RequestSource) -> tuple[str, ...]:
    """What requests of a data set can be labelled with: its ``labels`` where it has some, else its operators.

    Annotators name operators that no number of ``EditOp`` stands for (CROP, DENOISE, ...); a data set that has such
    says so in ``labels``. A label is a name here, and so is it in the facts.
    """
    return tuple(getattr(dataset, "labels", dataset.operators))
