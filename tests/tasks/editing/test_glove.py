# SPDX-License-Identifier: Apache-2.0
"""Word vectors from files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.errors import ConfigError, DataError
from ldie.tasks.editing.words.glove import read_glove

LINES = "the 0.5 -1 2\n. . . 1 2 3\nwarm 1e-1 0 -0.25\nthe 9 9 9\n"


def glove(folder: Path, text: str = LINES) -> Path:
    path = folder / "glove.3d.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_in_the_order_of_the_words(tmp_path: Path) -> None:
    matrix, known = read_glove(glove(tmp_path), ["warm", "saturate", "the"])
    assert matrix.dtype == torch.float32 and known.tolist() == [True, False, True]
    assert matrix[0].tolist() == pytest.approx([0.1, 0, -0.25]) and matrix[2].tolist() == [0.5, -1, 2]


def test_rows_of_missing_words_are_random_from_the_seed(tmp_path: Path) -> None:
    path, words = glove(tmp_path), ["the", *map("w{}".format, "abcdefghij" * 30)]
    first, again, other = (read_glove(path, words, seed).matrix for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first[1:], other[1:])
    spread = np.std([0.5, -1, 2])
    assert float(first[1:].std()) == pytest.approx(spread, rel=0.1) and abs(float(first[1:].mean())) < 0.2 * spread


def test_a_first_line_of_counts_is_no_word(tmp_path: Path) -> None:
    assert read_glove(glove(tmp_path, f"4 3\n{LINES}"), ["warm"]).known.all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2 3\nwarm 1 2\n", "line 2: expected a word and its 3 finite numbers"),
        ("warm 1 nan 2\n", "line 1: expected a word and its finite numbers"),
        ("warm 1 two\n", "line 1"),
        ("warm\n", "line 1"),
        ("cold 1 2\n", "none of the 2 words"),
        ("<html>\n", "none of the 2 words"),
        ("", "empty"),
        ("PK\x03\x04", "zip"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_glove(glove(tmp_path, text), ["the", "warm"])
    assert "\n" not in str(caught.value)


def test_no_file_and_no_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_glove(tmp_path / "glove.txt", ["the"])
    with pytest.raises(ConfigError, match="at least one"):
        read_glove(glove(tmp_path), [])


def test_hdf5_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr("ldie.tasks.editing.words.glove.is_installed", lambda package: False)
    path = tmp_path / "glove.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ConfigError, match=r"pip install ldie-ext\[hdf5\]"):
        read_glove(path, ["the"])


def test_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    rows = np.arange(6, dtype=np.float64).reshape(2, 3)

    def write(**arrays: np.ndarray) -> Path:
        with h5py.File(tmp_path / "glove.h5", "w") as file:
            for name, values in arrays.items():
                file[name] = values
        return tmp_path / "glove.h5"

    matrix, known = read_glove(write(glove=rows), ["a", "b"])
    assert matrix.tolist() == rows.tolist() and known.all() and matrix.dtype == torch.float32
    with pytest.raises(DataError, match=r"must be \[3, D\].*got float64 \[2, 3\]"):
        read_glove(write(glove=rows), ["a", "b", "c"])
    with pytest.raises(DataError, match="no array 'glove', only other"):
        read_glove(write(other=rows), ["a", "b"])
    with pytest.raises(DataError, match="not finite"):
        read_glove(write(glove=np.full_like(rows, np.nan)), ["a", "b"])
    (tmp_path / "glove.h5").write_bytes((tmp_path / "glove.h5").read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        read_glove(tmp_path / "glove.h5", ["a", "b"])
