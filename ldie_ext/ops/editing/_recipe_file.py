"""Recipes as JSON, read strictly: what is not understood is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ldie_ext._public import shown
from ldie_ext.ops.editing.recipe_step import RecipeStep
from ldie_ext.ops.masks.rle import RLE

__all__: list[str] = []

VERSION = 1
FORMAT = "ldie recipe"
_MOST_DIGITS = 1000
_KEYS = ("format", "version", "size", "source_hash", "masks", "steps")
_STEP_KEYS = ("name", "params", "mask", "exclusive")


def to_text(
    steps: Sequence[RecipeStep], masks: RLE | None, size: tuple[int, int] | None, source_hash: str | None
) -> str:
    """A recipe's file: one line for each step and each mask."""
    written = [json.dumps(_step_fields(step)) for step in steps]
    rles = [] if masks is None else masks.to_coco()
    shapes = [json.dumps({"size": rle["size"], "counts": bytes(rle["counts"]).decode("ascii")}) for rle in rles]  # type: ignore[arg-type]
    fields = {
        "format": json.dumps(FORMAT),
        "version": str(VERSION),
        "size": json.dumps(size),
        "source_hash": json.dumps(source_hash),
        "masks": _lines(shapes),
        "steps": _lines(written),
    }
    return "{\n" + ",\n".join(f'  "{key}": {value}' for key, value in fields.items()) + "\n}\n"


def from_text(text: str) -> dict[str, Any]:
    """The arguments of a recipe.

    Raises:
        ValueError: it is no recipe, of a newer version, or has something unknown or of another type.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_whole)
    except RecursionError:
        raise ValueError("not a recipe (nested too deeply)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not a recipe (no JSON: {error.msg} in line {error.lineno})") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f'not a recipe (it must be a JSON object with "format": "{FORMAT}")')
    version = _of("version", document.get("version"), int)
    if version > VERSION:
        raise ValueError(f"version must be at most {VERSION}, which this ldie_ext reads, got {version}; update it")
    if version < 1:
        raise ValueError(f"version must be 1 or more, got {version}")
    _known_keys("", document, _KEYS)
    size, source_hash = document.get("size"), document.get("source_hash")
    return {
        "steps": [_step(n, fields) for n, fields in enumerate(_of("steps", document.get("steps"), list))],
        "masks": _masks(_of("masks", document.get("masks", []), list)),
        "size": None if size is None else tuple(_of("size", size, list)),
        "source_hash": None if source_hash is None else _of("source_hash", source_hash, str),
    }


def _step_fields(step: RecipeStep) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": step.name, "params": list(step.params)}
    return fields if step.mask is None else fields | {"mask": step.mask, "exclusive": step.exclusive}


def _lines(items: Sequence[str]) -> str:
    return "[" + ",".join(f"\n    {item}" for item in items) + ("\n  ]" if items else "]")


def _step(number: int, fields: Any) -> RecipeStep:
    where = f"steps[{number}]"
    _known_keys(f"{where}: ", _of(where, fields, dict), _STEP_KEYS)
    _of(f"{where}: params", fields.get("params"), list)
    try:
        return RecipeStep(fields.get("name"), fields["params"], fields.get("mask"), fields.get("exclusive", False))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _masks(rles: list[Any]) -> RLE | None:
    if not rles:
        return None
    for n, rle in enumerate(rles):
        _known_keys(f"masks[{n}]: ", _of(f"masks[{n}]", rle, dict), ("size", "counts"))
    try:
        masks = RLE.from_coco(rles)
        masks.to_coco()  # which sees runs that do not add up
    except ValueError as error:
        raise ValueError(f"masks must be COCO's RLE objects: {error}") from None
    return masks


def _of(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        names = {dict: "an object", list: "a list", int: "a whole number", str: "a text"}
        raise ValueError(f"{name} must be {names[kind]}, got {shown(value)}")
    return value


def _known_keys(where: str, fields: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in fields:
        if key not in known:
            raise ValueError(f"{where}unknown key {key[:40]!r}; known: {', '.join(known)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError(f"not a recipe (a key stands twice in one object: {', '.join(key for key, _ in pairs)[:80]})")
    return fields


def _whole(digits: str) -> int:
    """What Python reads of a number's digits; of very many, it would explain its own settings."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"not a recipe (a number of {len(digits)} digits)")
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"not a recipe ({name} is no number)")
