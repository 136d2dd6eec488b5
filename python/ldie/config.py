# SPDX-License-Identifier: Apache-2.0
"""Configurations: trees of frozen dataclasses, read from YAML and from ``key=value`` overrides.

The helpers work on any tree of frozen dataclasses. Keys are case-insensitive, so ``MODEL.NUM_CLASSES`` and
``model.num_classes`` are the same key; values are converted to the type of the dataclass field; an unknown key is an
error that suggests the nearest one. A field's metadata may hold ``aliases``: other spellings of its values, such as
those of published configurations.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from ldie.errors import ConfigError

Config = TypeVar("Config")


@dataclass(frozen=True)
class ModelConfig:
    """The networks; systems derive from it."""


@dataclass(frozen=True)
class SolverConfig:
    """The training loop; systems derive from it to add learning rates and loss weights."""

    batch_size: int = 8
    """Images per step on one process."""
    max_iter: int = 1000
    """Training steps in all."""
    lr_schedule: Literal["step", "cosine"] = "step"
    """``step``: times ``lr_gamma`` at every step of ``lr_decay``; ``cosine``: down to zero at ``max_iter``."""
    lr_decay: tuple[int, ...] = ()
    """Steps at which the ``step`` schedule decays."""
    lr_gamma: float = 0.1
    """Factor of one decay."""
    warmup_iter: int = 0
    """Steps over which the learning rates rise linearly from zero."""
    log_step: int = 50
    """Steps between log lines; the losses of a line are means over these steps."""
    eval_step: int = 0
    """Steps between evaluations; 0: only after the last step."""
    save_step: int = 0
    """Steps between checkpoints; 0: only after the last step (and on Ctrl-C)."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay, next to the best one; a resume needs two if one is damaged."""
    num_workers: int = 0
    """Processes that load data; 0: load in the training process."""
    sync_batchnorm: bool = False
    """Batch statistics over all processes (CUDA only)."""


@dataclass(frozen=True)
class DatasetConfig:
    """Which data."""

    root: str = "shapes"
    """Name of generated data, or a folder."""
    train: str = "train2017"
    """Split to train on."""
    val: str = "val2017"
    """Split to evaluate on."""


@dataclass(frozen=True)
class RunConfig:
    """Root of every system's configuration; systems derive from it and narrow the sections."""

    model: ModelConfig = field(default_factory=ModelConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    mixed_precision: Literal["none", "bf16", "fp16"] = field(
        default="none", metadata={"aliases": {False: "none", True: "fp16"}}
    )
    """Autocast type of the training step; ``false`` is none, ``true`` fp16."""
    output_dir: str = "runs/default"
    """Work folder: configuration, log, checkpoints, metrics, pictures."""
    seed: int = 0
    """Of weights, sample order, augmentation and generated data."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, got {self.seed}")
        for name, minimum in _SOLVER_MINIMA.items():
            value = getattr(self.solver, name)
            if value < minimum:
                raise ConfigError(f"solver.{name} must be at least {minimum}, got {value}")


_SOLVER_MINIMA = {
    "batch_size": 1,
    "max_iter": 0,
    "warmup_iter": 0,
    "log_step": 0,
    "eval_step": 0,
    "save_step": 0,
    "keep_checkpoints": 1,
    "num_workers": 0,
}
"""Smallest legal values; an interval of 0 means never."""


def merge(config: Config, values: Mapping[str, Any], prefix: str = "") -> Config:
    """A copy of ``config`` with the nested ``values`` put in.

    Args:
        config: A frozen dataclass; its sections are frozen dataclasses too.
        values: Nested mapping; keys in any case.
        prefix: Key of ``config`` inside its root, for messages.

    Returns:
        The new configuration, of the same type.

    Raises:
        ConfigError: Unknown key, or a value that the field's type does not take.
    """
    hints = typing.get_type_hints(type(config))
    aliases = {item.name: item.metadata.get("aliases", {}) for item in dataclasses.fields(config)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = _field_name(config, str(key), prefix)
        if name in changes:
            raise ConfigError(f"{prefix}{name} is given twice (keys are case-insensitive)")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{name} is a section with keys of its own, got {value!r}")
            changes[name] = merge(current, value, f"{prefix}{name}.")
        else:
            changes[name] = _convert(_spelled_out(value, aliases[name], prefix + name), hints[name], prefix + name)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def override(config: Config, assignments: Iterable[str]) -> Config:
    """A copy of ``config`` with ``section.key=value`` assignments put in, in order.

    Values are YAML: ``solver.lr_decay=[100,200]`` or ``solver.lr_decay=100,200``, ``solver.sync_batchnorm=true``.
    """
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"expected key=value, got {assignment!r}")
        *sections, name = key.strip().split(".")
        values: dict[str, Any] = {name: _Text(text.strip())}
        for section in reversed(sections):
            values = {section: values}
        config = merge(config, values)
    return config


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The nested values of a YAML file, for :func:`merge`.

    Raises:
        ConfigError: The file is missing, not readable, not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({_reason(error)}); give a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}: not valid YAML{line}; correct it or leave it out") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values of ``config`` (tuples become lists): what YAML and JSON can hold."""
    return {item.name: _plain(getattr(config, item.name)) for item in dataclasses.fields(config)}


def to_yaml(config: Any) -> str:
    """``config`` as YAML text that :func:`load_yaml` and :func:`merge` turn back into an equal configuration."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


class _Text(str):
    """A value from the command line, still to be read as YAML unless the field is a string."""


def _field_name(config: Any, key: str, prefix: str) -> str:
    names = [item.name for item in dataclasses.fields(config)]
    lower = key.lower()
    if lower in names:
        return lower
    nearest = difflib.get_close_matches(lower, names, n=1, cutoff=0.5)
    hint = f"did you mean {prefix}{nearest[0]}?" if nearest else f"known: {', '.join(prefix + name for name in names)}"
    raise ConfigError(f"unknown configuration key {prefix}{key}; {hint}")


def _spelled_out(value: Any, aliases: Mapping[Any, Any], key: str) -> Any:
    """The value that ``value`` is another spelling of, or itself."""
    plain = _read_text(value, key) if aliases and isinstance(value, _Text) else value
    return aliases.get(plain, value) if isinstance(plain, (str, bool)) else value


def _convert(value: Any, hint: Any, key: str) -> Any:
    """``value`` as the type ``hint``, or a ConfigError that names ``key``."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, typing.get_args(hint), key)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):  # a section in a tuple of sections
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} is a section with keys of its own, got {value!r}")
        return merge(hint(), value, f"{key}.")
    if hint is str and isinstance(value, str):
        return str(value)
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(hint), key)
    if isinstance(value, _Text):
        value = _read_text(value, key)
    if origin is Literal:
        choices = typing.get_args(hint)
        if value in choices and type(value) in {type(choice) for choice in choices}:
            return value
        raise ConfigError(f"{key} must be one of {', '.join(map(str, choices))}, got {value!r}")
    if hint is bool and isinstance(value, bool):
        return value
    if hint in (int, float) and not isinstance(value, bool):
        number = _number(value)
        if number is not None and not math.isnan(number) and (hint is float or float(number).is_integer()):
            return hint(number)
    raise ConfigError(f"{key} must be {getattr(hint, '__name__', hint)}, got {value!r}")


def _convert_union(value: Any, members: tuple[Any, ...], key: str) -> Any:
    if value is None or (isinstance(value, _Text) and value in ("", "null", "None", "none", "~")):
        if type(None) in members:
            return None
        raise ConfigError(f"{key} must have a value")
    errors = []
    for member in members:
        if member is not type(None):
            try:
                return _convert(value, member, key)
            except ConfigError as error:
                errors.append(error)
    raise errors[0]


def _convert_tuple(value: Any, members: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if isinstance(value, _Text):
        text = value if value.startswith("[") else f"[{value}]"
        value = _read_text(_Text(text), key)
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{key} must be a list, got {value!r}")
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(members) != len(value):
        raise ConfigError(f"{key} must have {len(members)} entries, got {len(value)}")
    return tuple(_convert(item, member, f"{key}[{i}]") for i, (item, member) in enumerate(zip(value, members)))


def _read_text(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: {str(text)!r} is not a YAML value") from error


def _number(value: Any) -> int | float | None:
    """YAML 1.1 reads ``5e-4`` as a string; a number is meant."""
    if isinstance(value, (int, float)):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
