# SPDX-License-Identifier: Apache-2.0
"""MA5k-Req: photographs of MIT-Adobe FiveK, retouched by five experts, with requests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ldie.errors import DataError
from ldie.tasks.detection.annotations import brief
from ldie.tasks.editing.published.pairs import (
    PairRecord,
    PublishedPairs,
    check_split,
    image_name,
    is_gif,
    read_records,
    say_skipped,
    texts,
)
from ldie.tasks.editing.published.plans import Plans

ANNOTATIONS = "annotations"


class FiveK(PublishedPairs):
    """A split of MA5k-Req: ``annotations/{train,val,test}_sess_1.json`` and ``images/``.

    A record names an input, an output and a request, which may be a list of several. Left out, counted and logged once:
    .gif files, and requests without a text. The published ids of words (``request_idx``) are not read: a vocabulary
    encodes requests.

    Args:
        root: The data set's folder.
        split: ``train``, ``val`` or ``test``.
        size: See :class:`PublishedPairs`; the published 128 for training.
        splits: A folder with other files of the same names, such as ``ldie split`` writes; None: ``root/annotations``.
        plans: See :class:`PublishedPairs`.

    Raises:
        DataError: A file is missing, malformed, or names pictures that are not there.

    Source: Shi et al., Learning by Planning: Language-Guided Global Image Editing, arXiv:2106.13156.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        size: int | None = None,
        splits: str | Path | None = None,
        plans: Plans | None = None,
    ) -> None:
        path = split_file(Path(root), split, splits)
        self.skipped: Counter[str] = Counter()
        records = [self._record(path, number, record) for number, record in enumerate(read_records(path))]
        say_skipped(str(path), self.skipped)
        super().__init__(Path(root), str(path), [record for record in records if record is not None], size, plans)

    def _record(self, path: Path, number: int, record: dict[str, object]) -> PairRecord | None:
        source, target = (image_name(record, key, path, number) for key in ("input", "output"))
        if "request" not in record:
            raise DataError(f"{path}: record {number}: has no request, only {brief(sorted(record))}; correct it")
        given = record["request"] if isinstance(record["request"], list) else [record["request"]]
        if is_gif(source, target):
            self.skipped["pairs with a .gif"] += 1
            return None
        requests = texts(given, self.skipped)
        return PairRecord(number, source, target, requests) if requests else None


def split_file(root: Path, split: str, splits: str | Path | None = None) -> Path:
    """The file of a split's records."""
    check_split(split)
    return (root / ANNOTATIONS if splits is None else Path(splits)) / f"{split}_sess_1.json"
