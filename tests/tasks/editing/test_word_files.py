# SPDX-License-Identifier: Apache-2.0
"""Words from files, and what a configuration makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ldie.config import RunConfig
from ldie.errors import DataError
from ldie.tasks.editing.catalog import open_split
from ldie.tasks.editing.data_config import EditDataConfig
from ldie.tasks.editing.words.vocabulary import Vocabulary
from ldie.tasks.editing.words.word_files import read_class_names, read_vocabulary
from tasks.editing.published_folders import fivek

SPECIAL = {"<NONE>": 0, "<START>": 1, "<END>": 2, "<UNK>": 3}


def written(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_a_published_vocabulary(tmp_path: Path) -> None:
    """Words have the numbers that they have in the file, whatever their order there."""
    words = read_vocabulary(written(tmp_path / "words.json", {"sky": 5, **SPECIAL, "make": 4, "it": 6}))
    assert words.words == ("make", "sky", "it") and words.encode("make it").ids.tolist() == [1, 4, 6, 2]
    many = read_vocabulary(written(tmp_path / "many.json", SPECIAL | {f"{'x' * n}": n for n in range(4, 15)}))
    assert [len(word) for word in many.words] == list(range(4, 15))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object of tokens"),
        ({}, "expected an object of tokens"),
        ({**SPECIAL, "sky": 5}, "expected an object of tokens"),
        ({**SPECIAL, "sky": "4"}, "expected an object of tokens"),
        (SPECIAL, "words must be at least one"),
        ({**SPECIAL, "Sky": 4}, "got 'Sky'"),
    ],
)
def test_vocabularies_that_are_none(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_vocabulary(written(tmp_path / "words.json", content))
    assert "words.json" in str(caught.value)


def test_class_names(tmp_path: Path) -> None:
    path = written(tmp_path / "panoptic.json", {"categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "sky"}]})
    assert read_class_names(path) == ["person", "sky"]
    for content in ([], {}, {"categories": [{"id": 1}]}, {"categories": []}, {"categories": 3}):
        with pytest.raises(DataError, match=r"panoptic.json: expected"):
            read_class_names(written(tmp_path / "panoptic.json", content))


def test_files_of_words_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: no such file; give a published vocabulary"):
        read_vocabulary(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"none.json: no such file; give an annotation file"):
        read_class_names(tmp_path / "none.json")


def test_words_of_a_configuration(tmp_path: Path) -> None:
    requests = ["warm it", "warm it", "once"]
    records = [{"input": "o.png", "output": f"{n}.png", "request": text} for n, text in enumerate(requests)]
    data = EditDataConfig(root=str(fivek(tmp_path, train=records)), min_count=2)

    def words(**changes: Any) -> tuple[str, ...]:
        return open_split(RunConfig(dataset=replace(data, **changes)), "train").vocabulary().words

    names = written(tmp_path / "panoptic.json", {"categories": [{"id": 1, "name": "sky-other-merged"}]})
    assert words() == ("it", "warm")
    assert words(class_names=names) == ("it", "warm", "merged", "other", "sky")
    published = written(tmp_path / "words.json", {**SPECIAL, "once": 4, "upon": 5})
    assert words(vocabulary=published) == Vocabulary(["once", "upon"]).words
