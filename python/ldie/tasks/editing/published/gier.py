# SPDX-License-Identifier: Apache-2.0
"""GIER, also called IER: pictures that people on the web asked to be edited, with requests, operators and masks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor

from ldie.errors import DataError
from ldie.files import is_file
from ldie.tasks.detection.annotations import Rle, brief, run_lengths
from ldie.tasks.editing.published.gier_modes import rows_of
from ldie.tasks.editing.published.pairs import (
    PairRecord,
    Place,
    PublishedPairs,
    check_split,
    image_name,
    is_gif,
    is_nothing,
    read_records,
    say_skipped,
    texts,
)
from ldie.tasks.editing.published.plans import Plans
from ldie_ext import RLE, EditOp, rle_decode
from ldie_ext.ops.editing.executor_operators import SEED_LABELS

MAX_STEPS = 8
"""Of a plan that are learnt from, as published."""
SPLIT_FILES, MASKS = "splits", "masks"
REQUESTS = ("expert_summary", "amateur_summary")
NAMES = {
    label.label: label.operator.name if isinstance(label.operator, EditOp) else label.operator or label.label.upper()
    for label in SEED_LABELS
} | {"gaussian_blur": EditOp.BLUR.name}
"""What annotators call an operator, and its name here: ``EditOp``'s or an executor's. "hue" and "tint" are labels of
the two curves; "gaussain_blur" is spelt so in the files; "deform_obj" is a label that nothing does."""
_MASK_MODES = {"inclusive": False, "exclusive": True}


class Gier(PublishedPairs):
    """A split of GIER: ``splits/{train,val,test}_sess_3.json``, ``images/`` and ``masks/``.

    A sample is one of a pair's requests, those of experts (``expert_summary``) first, then those of amateurs. What the
    published files have in them is read by these rules:

    ==============================================  ==================================================================
    input or output is a .gif                       the pair is left out, counted, logged once
    request null, NaN, or white space               left out, counted; a pair without any other is left out
    ``operator`` null, NaN or empty                 the pair stays; its operators are not known, so none
    an operator's entry null or NaN, or named nan   the operator is asked for, everywhere; one without a name is not
    ``ids`` null, NaN or empty though ``local``     it is not known where: everywhere
    ``local`` false                                 everywhere, whatever ``ids`` says
    ``mask_mode`` missing, null or NaN              inclusive; ``exclusive`` is outside of the union of the masks
    masks that overlap, an id twice                 a pixel is in the union or not
    operators in different places                   the region is all of these places; everywhere if one acts so
    masks of another size, by rounding              nearest pixels; of another aspect: an error
    an unknown operator                             an error
    ==============================================  ==================================================================

    Args:
        root: The data set's folder.
        split: ``train``, ``val`` or ``test``.
        mode: Which pairs: see :func:`ldie.tasks.editing.published.gier_modes.rows_of`.
        size: See :class:`PublishedPairs`; the published 128 for training.
        splits: A folder with other files of the same names, such as ``ldie split`` writes; None: ``root/splits``.
        plans: See :class:`PublishedPairs`.

    Raises:
        DataError: A file is missing or malformed, or names what is not there.
        ConfigError: An unknown split or mode.

    Source: Shi et al., A Benchmark and Baseline for Language-Driven Image Editing, arXiv:2010.02330.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        mode: str = "full",
        *,
        size: int | None = None,
        splits: str | Path | None = None,
        plans: Plans | None = None,
    ) -> None:
        root, path = Path(root), split_file(Path(root), split, splits)
        raw = read_records(path)
        self.skipped: Counter[str] = Counter()
        records = [self._record(path, row, raw[row]) for row in rows_of(mode, raw, path, root)]
        say_skipped(str(path), self.skipped)
        super().__init__(root, str(path), [record for record in records if record is not None], size, plans)
        self._check_masks()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all operators that annotators name: those of ``EditOp`` in its order, then the others."""
        named = sorted({name for record in self.records for name in record.operators})
        numbered = [op.name for op in EditOp if op.name in named]
        return (*numbered, *(name for name in named if name not in numbered))

    def _record(self, path: Path, number: int, record: dict[str, Any]) -> PairRecord | None:
        source, target = (image_name(record, key, path, number) for key in ("input", "output"))
        operators, places = _operators(record.get("operator"), f"{path}: record {number}")
        given = [text for key in REQUESTS for text in _list(record, key, path, number)]
        if is_gif(source, target):
            self.skipped["pairs with a .gif"] += 1
            return None
        requests = texts(given, self.skipped)
        if not requests:
            self.skipped["pairs without a request"] += 1
            return None
        return PairRecord(number, source, target, requests, operators, places)

    def _check_masks(self) -> None:
        """Looks at all masks that are needed, so that none of them ends a training."""
        for record in self.records:
            if record.places:
                self._run_lengths(record)

    def _run_lengths(self, record: PairRecord) -> dict[int, Rle]:
        """Those of the masks that a record names."""
        path = self.root / MASKS / f"{Path(record.input).stem}_mask.json"
        if not is_file(path):
            raise DataError(
                f"{path}: no such file, but record {record.number} of {self.origin} has edits in some of its masks; "
                "restore the folder of masks"
            )
        masks, named = read_records(path), {number for place in record.places for number in place.masks}
        if max(named) >= len(masks):
            raise DataError(
                f"{path}: has {len(masks)} masks, but record {record.number} of {self.origin} names number "
                f"{max(named)}; correct the one or the other"
            )
        found = {}
        for number in named:
            try:
                found[number] = run_lengths(masks[number])
            except ValueError as error:
                raise DataError(f"{path}: mask {number}: {error}; fetch the file again") from None
        return found

    def _masks(self, record: PairRecord) -> dict[int, Tensor]:
        return {number: rle_decode(RLE.from_coco([rle]))[0] for number, rle in self._run_lengths(record).items()}


def split_file(root: Path, split: str, splits: str | Path | None = None) -> Path:
    """The file of a split's records."""
    check_split(split)
    return (root / SPLIT_FILES if splits is None else Path(splits)) / f"{split}_sess_3.json"


def _operators(given: Any, where: str) -> tuple[frozenset[str], tuple[Place, ...]]:
    """Names of the operators, and where they act."""
    if is_nothing(given):
        return frozenset(), ()
    if not isinstance(given, dict):
        raise DataError(f"{where}: operator must be an object of operators, got {brief(given)}; correct it")
    named = {name: entry for name, entry in given.items() if name.lower() != "nan"}
    for name in named:
        if name not in NAMES:
            raise DataError(f"{where}: unknown operator {brief(name)}; known: {', '.join(NAMES)}; correct it")
    places = dict.fromkeys(_place(entry, f"{where}: {name}") for name, entry in named.items())
    everywhere = None in places
    return (
        frozenset(NAMES[name] for name in named),
        () if everywhere else tuple(place for place in places if place is not None),
    )


def _place(entry: Any, where: str) -> Place | None:
    """Where an operator acts, None for everywhere."""
    if is_nothing(entry):
        return None
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object with local and ids, got {brief(entry)}; correct it")
    local, ids, mode = entry.get("local"), entry.get("ids"), entry.get("mask_mode")
    if not is_nothing(local) and type(local) is not bool:
        raise DataError(f"{where}: local must be true or false, got {brief(local)}; correct it")
    if not is_nothing(ids) and not (isinstance(ids, list) and all(type(n) is int and n >= 0 for n in ids)):
        raise DataError(f"{where}: ids must be numbers of masks, got {brief(ids)}; correct it")
    if not is_nothing(mode) and (not isinstance(mode, str) or mode not in _MASK_MODES):
        raise DataError(f"{where}: mask_mode must be inclusive or exclusive, got {brief(mode)}; correct it")
    if local is not True or is_nothing(ids) or not ids:
        return None
    return Place(tuple(sorted(set(ids))), isinstance(mode, str) and _MASK_MODES[mode])


def _list(record: dict[str, Any], key: str, path: Path, number: int) -> list[Any]:
    value = record.get(key)
    if is_nothing(value):
        return []
    if not isinstance(value, list):
        raise DataError(f"{path}: record {number}: {key} must be a list of requests, got {brief(value)}; correct it")
    return value
