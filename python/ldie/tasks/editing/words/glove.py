# SPDX-License-Identifier: Apache-2.0
"""Vectors of words that were learnt elsewhere: GloVe's text files, and the HDF5 file that MA5k-Req came with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldie.errors import ConfigError, DataError
from ldie.files import first_line, foreign_kind, is_file
from ldie.packages import is_installed
from ldie.tasks.detection.annotations import brief

KEY = "glove"
"""Of the HDF5 file."""
_PERHAPS_WORDS = ("a text file", "a web page instead of the file it leads to")
"""What a file of vectors is taken for when its first word is "{" or "<s>"."""
_MOST_NUMBERS = 100_000
_LONGEST_LINE = 1 << 22


class WordVectors(NamedTuple):
    """Rows for an embedding of a vocabulary's words; its special tokens have none and are trained."""

    matrix: Tensor
    """float32 [words, D], in the words' order."""
    known: Tensor
    """bool [words]: whether the file has the word. The other rows are random, normal with the known ones' spread."""


def read_glove(path: str | Path, words: Sequence[str], seed: int = 0) -> WordVectors:
    """Word vectors from a file.

    Args:
        path: Text, a word and its D numbers on each line, as GloVe comes, also with word2vec's first line of two
            counts; of two lines for a word, the first counts. Or HDF5 with [words, D] under ``glove``, whose rows are
            those of the words in this order.
        words: A vocabulary's, without special tokens.
        seed: Of the rows for words that the file has not.

    Raises:
        DataError: The file is missing, of another kind, or has none of the words; or a line or shape does not fit.
        ConfigError: HDF5, and h5py is not installed; or no words.
    """
    path = Path(path)
    if not words:
        raise ConfigError("words must be at least one, got none")
    if not is_file(path):
        raise DataError(f"{path}: no such file; give GloVe's text file, or an HDF5 file of vectors")
    kind = foreign_kind(path)
    if kind == "an HDF5 file":
        rows = _hdf5_rows(path, len(words))
        return WordVectors(torch.from_numpy(rows), torch.ones(len(words), dtype=torch.bool))
    if kind is not None and kind not in _PERHAPS_WORDS:
        raise DataError(f"{path}: is no text file of vectors ({kind}); unpack it or fetch it again")
    return _filled(_text_rows(path, set(words)), words, seed, path)


def _filled(found: dict[str, NDArray[np.float32]], words: Sequence[str], seed: int, path: Path) -> WordVectors:
    if not found:
        raise DataError(f"{path}: has a vector for none of the {len(words)} words; give vectors of their language")
    known = torch.tensor([word in found for word in words])
    vectors = torch.from_numpy(np.stack(list(found.values())))
    spread = float(vectors.double().std(correction=0))
    draws = torch.Generator().manual_seed(seed)
    matrix = torch.randn(len(words), vectors.shape[1], generator=draws) * spread
    matrix[known] = torch.from_numpy(np.stack([found[word] for word in words if word in found]))
    return WordVectors(matrix, known)


def _text_rows(path: Path, wanted: set[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors of some words. Only their lines are parsed: some words of others have spaces in them."""
    found: dict[str, NDArray[np.float32]] = {}
    length = 0
    for number, line in _lines(path):
        word, *numbers = line.rstrip().split(" ")
        if word not in wanted or word in found:
            continue
        try:
            row = np.array(numbers, dtype=np.float32)
        except ValueError:
            row = np.zeros(0, np.float32)
        if not len(row) or len(row) > _MOST_NUMBERS or len(row) != (length or len(row)) or not np.isfinite(row).all():
            count = f"{length} " if length else ""
            raise DataError(
                f"{path}: line {number}: expected a word and its {count}finite numbers, got {brief(line.rstrip())}; "
                "fetch the file again"
            )
        length, found[word] = len(row), row
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
                if len(line) == _LONGEST_LINE:
                    raise DataError(f"{path}: line {number} does not end; give a text file of vectors")
                yield number, line.decode("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or os.strerror(5)}); make it readable") from error


def _hdf5_rows(path: Path, count: int) -> NDArray[np.float32]:
    if not is_installed("h5py"):
        raise ConfigError(f"{path}: an HDF5 file, but h5py is not installed; pip install ldie-ext[hdf5]")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            item = file.get(KEY)
            if not isinstance(item, h5py.Dataset):
                raise DataError(f"{path}: has no array {KEY!r}, only {', '.join(file) or 'nothing'}; give another file")
            if item.ndim != 2 or item.dtype.kind != "f" or item.shape[0] != count or not item.shape[1]:
                raise DataError(
                    f"{path}: {KEY!r} must be [{count}, D], a row for each word, got {item.dtype} {list(item.shape)}; "
                    "give the file of this vocabulary"
                )
            rows = np.asarray(item[()], dtype=np.float32)
    except OSError as error:  # h5py's, of damaged files too
        raise DataError(f"{path}: cannot be read ({first_line(error)}); fetch it again") from error
    if not np.isfinite(rows).all():
        raise DataError(f"{path}: {KEY!r} has numbers that are not finite; fetch it again")
    return rows
