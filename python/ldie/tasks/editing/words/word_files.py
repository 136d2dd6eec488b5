# SPDX-License-Identifier: Apache-2.0
"""Words from files: vocabularies that were published, and names of classes."""

from __future__ import annotations

from pathlib import Path

from ldie.errors import ConfigError, DataError
from ldie.tasks.detection.annotations import brief, read_json
from ldie.tasks.editing.words.vocabulary import SPECIAL, Vocabulary


def read_vocabulary(path: str | Path) -> Vocabulary:
    """A vocabulary as MA5k-Req and GIER came with: a JSON object of tokens and their numbers, special ones up to 3.

    Its words have here the numbers that they have there, so that the vectors published with it are in its order.

    Raises:
        DataError: The file cannot be read, is something else, or has a word that no request can have.
    """
    path = Path(path)
    _check_there(path, "a published vocabulary, or none for the requests' own words")
    content = read_json(path)
    tokens = sorted(content, key=lambda token: str(content[token]).zfill(9)) if isinstance(content, dict) else []
    if not tokens or [content[token] for token in tokens] != list(range(len(tokens))):
        raise DataError(
            f"{path}: expected an object of tokens with the numbers 0, 1, 2, ..., got {brief(content)}; give a "
            "published vocabulary"
        )
    try:
        return Vocabulary(tokens[SPECIAL:])
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None


def read_class_names(path: str | Path) -> list[str]:
    """Names of the classes in an annotation file in COCO's format, panoptic or other: objects that requests name.

    Raises:
        DataError: The file cannot be read, or has no classes with names.
    """
    _check_there(Path(path), "an annotation file with names of classes, or none")
    content = read_json(Path(path))
    categories = content.get("categories") if isinstance(content, dict) else None
    entries = [each for each in categories if isinstance(each, dict)] if isinstance(categories, list) else []
    names = [each["name"] for each in entries if isinstance(each.get("name"), str)]
    if not names or len(names) < len(categories or ()):
        raise DataError(f"{path}: expected COCO's object with names of categories; give an annotation file")
    return names


def _check_there(path: Path, wanted: str) -> None:
    """Raises a DataError for a file that is not there, which says what it is to be."""
    if not path.exists():
        raise DataError(f"{path}: no such file; give {wanted}")
