# SPDX-License-Identifier: Apache-2.0
"""What data sets of requests have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ldie.tasks.editing.sample import EditSample


class EditDataset(Protocol):
    """Requests by index, each read anew."""

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Names in ``EditOp`` of the operators that its steps use."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> EditSample: ...

    def requests(self) -> Iterable[str]:
        """All requests, without a picture being opened."""
