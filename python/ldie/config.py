# SPDX-License-Identifier: Apache-2.0
"""Configurations: trees of frozen dataclasses, read from YAML and from ``key=value`` overrides.

pydantic checks the values against the fields' types; constraints and other spellings are part of a type
(``Annotated``). Keys are case-insensitive, so ``MODEL.NUM_CLASSES`` and ``model.num_classes`` are the same key; an
unknown key is an error that suggests the nearest one.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from ldie import yaml_text
from ldie.durations import MOST, Steps
from ldie.errors import ConfigError
from ldie.files import first_line

Config = TypeVar("Config")
Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Processes = Annotated[int, Field(ge=0, le=1024)]

_BYTES = 100_000
"""No configuration's file needs to be larger."""


def _rate(value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"must be positive and finite, got {value}")
    return value


LearningRate = Annotated[float, AfterValidator(_rate)]
_LRSchedule = Literal["step", "cosine"]
_Factor = Annotated[float, Field(ge=0, le=1)]


def spelled(spellings: Mapping[str | bool, str]) -> BeforeValidator:
    """For the ``Annotated`` type of a field: other spellings of its values, such as those of published files."""
    return BeforeValidator(lambda value: spellings.get(value, value) if isinstance(value, (str, bool)) else value)


@dataclass(frozen=True)
class ModelConfig:
    """The networks; systems derive from it."""


@dataclass(frozen=True)
class SolverConfig:
    """The training loop; systems derive from it to add learning rates and loss weights.

    One that changes a default repeats the type, as the type is what holds the field's limits. What counts steps also
    takes epochs, as ``12 epochs`` or ``0.5 epochs``; the run's own ``config.yaml`` has them in steps.
    """

    batch_size: Positive = 8
    """Images that are in memory together on one process."""
    accumulate: Positive = 1
    """Batches of a step: their gradients are averaged, as if they were one batch so many times as large."""
    max_iter: Steps = 1000
    """Training steps in all."""
    lr_schedule: _LRSchedule = "step"
    """``step``: times ``lr_gamma`` at every step of ``lr_decay``; ``cosine``: down to zero at ``max_iter``."""
    lr_decay: tuple[Steps, ...] = ()
    """Steps at which the ``step`` schedule decays."""
    lr_gamma: float = 0.1
    """Factor of one decay."""
    warmup_iter: Steps = 0
    """Steps over which the learning rates rise linearly to their schedule."""
    warmup_factor: _Factor | None = None
    """Factor of the learning rates in the first step of ``warmup_iter``; null: 1 / ``warmup_iter``."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Evaluations, checkpoints and what is loaded from them have an exponential moving average of the weights; its
    decay begins low and rises to this (:class:`ldie.engine.average.WeightAverage`); 0: the weights themselves."""
    compile: bool = False
    """Compile the networks for training (``torch.compile``): the first steps take a minute or more, the others less."""
    log_step: Steps = 50
    """Steps between log lines; the losses of a line are means over these steps."""
    eval_step: Steps = 0
    """Steps between evaluations; 0: only after the last step."""
    patience: Count = 0
    """Evaluations in a row without a new best one after which the run ends before ``max_iter``; 0: never."""
    save_step: Steps = 0
    """Steps between checkpoints; 0: only after the last step (and on Ctrl-C)."""
    keep_checkpoints: Positive = 2
    """How many of the newest checkpoints stay, next to the best one; a resume needs two if one is damaged."""
    num_workers: Processes = 0
    """Processes that load data; 0: load in the training process."""
    sync_batchnorm: bool = False
    """Batch statistics over all processes (CUDA only)."""


@dataclass(frozen=True)
class OwnSchedule:
    """How one of several optimizers' learning rates run; the section of an optimizer derives from it.

    Null, or left out: as the solver's own key of this name says.
    """

    lr_schedule: _LRSchedule | None = None
    lr_decay: tuple[Steps, ...] | None = None
    lr_gamma: float | None = None
    warmup_iter: Steps | None = None
    warmup_factor: _Factor | None = None

    def over(self, solver: SolverConfig) -> SolverConfig:
        """The solver with what is given here put in."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(OwnSchedule)}
        return dataclasses.replace(solver, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class DatasetConfig:
    """Which data."""

    root: str = "shapes"
    """Name of generated data, or a folder."""
    train: str = "train2017"
    """Split to train on."""
    val: str = "val2017"
    """Split to evaluate on."""
    categories: tuple[str, ...] = ()
    """Names of the classes to learn and to find, in the order of their labels; empty: all. Others do not exist."""
    limit: Count = 0
    """Train on so many images, the first ones; 0: all. What ``val`` names stays whole unless it is the same split."""
    drop_empty: bool = False
    """Do not train on images without an object of these classes; evaluation keeps them."""
    aspect_grouping: bool = False
    """Batches of images that are all wide or all tall: less padding where a system trains on whole images."""


@dataclass(frozen=True)
class LogConfig:
    """Where a run's figures go beside the console and ``log.jsonl``."""

    to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] | None = None
    """Trackers, each to be installed; null: TensorBoard where it is installed."""
    project: str = "ldie"
    """Project of W&B, experiment of MLflow."""


@dataclass(frozen=True)
class RunConfig:
    """Root of every system's configuration; systems derive from it and narrow the sections."""

    model: ModelConfig = field(default_factory=ModelConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    log: LogConfig = field(default_factory=LogConfig)
    mixed_precision: Annotated[Literal["none", "bf16", "fp16"], spelled({False: "none", True: "fp16"})] = "none"
    """Autocast type of the training step; ``false`` is none, ``true`` fp16."""
    output_dir: str = "runs/default"
    """Work folder: configuration, log, checkpoints, metrics, pictures."""
    seed: Seed = 0
    """Of weights, sample order, augmentation and generated data."""


def merge(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of ``config`` with the nested ``values`` put in, all of it validated.

    Args:
        config: A frozen dataclass; its sections are frozen dataclasses too.
        values: Nested mapping; keys in any case. Sections are merged, tuples replaced.

    Returns:
        The new configuration, of the same type.

    Raises:
        ConfigError: Unknown key, or a value that the field's type does not take.
    """
    merged = json.dumps(_overlay(to_dict(config), values, ""), default=str)
    try:
        return TypeAdapter(type(config)).validate_json(merged, strict=True, extra="forbid")
    except ValidationError as error:
        raise ConfigError(_message(error.errors()[0], type(config))) from error


def override(config: Config, assignments: Iterable[str]) -> Config:
    """A copy of ``config`` with ``section.key=value`` assignments put in, in order.

    Values are YAML: ``solver.lr_decay=[100,200]`` or ``solver.lr_decay=100,200``, ``solver.sync_batchnorm=true``.
    """
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        names = key.strip().lower().split(".")
        if not separator or names == [""]:
            raise ConfigError(f"expected key=value, got {assignment!r}")
        if len(names) > yaml_text.NESTED:
            raise ConfigError(f"unknown configuration key {key.strip()}")
        value = _read_text(text.strip(), _follow(type(config), names)[1], key.strip())
        for name in reversed(names):
            value = {name: value}
        config = merge(config, value)
    return config


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The nested values of a YAML file, for :func:`merge`.

    Raises:
        ConfigError: The file is missing, not readable, not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES + 1)
        if len(text) > _BYTES:
            raise ValueError(f"larger than {_BYTES // 1000} kB")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ConfigError(f"{path}: cannot be read ({reason}); give a YAML file") from error
    try:
        values = yaml_text.parse(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML {error}; correct it or leave it out") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values of ``config`` (tuples become lists): what YAML and JSON can hold."""
    return to_jsonable_python(config)


def to_yaml(config: Any) -> str:
    """``config`` as YAML text that :func:`load_yaml` and :func:`merge` turn back into an equal configuration."""
    return yaml_text.dump(to_dict(config))


def _overlay(current: Any, value: Any, key: str) -> Any:
    """``value`` over ``current``, which stays where ``value`` has no such key; lower-case keys, whole numbers ints."""
    if isinstance(value, Mapping):
        given: dict[str, Any] = {}
        old = current if isinstance(current, dict) else {}
        for name, item in ((str(name).lower(), item) for name, item in value.items()):
            inside = f"{key}.{name}".lstrip(".")
            if name in given:
                raise ConfigError(f"{inside} is given twice (keys are case-insensitive)")
            given[name] = _overlay(old.get(name), item, inside)
        return old | given
    if isinstance(value, (list, tuple)):
        return [_overlay(None, item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{key} must be a number, got nan")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ConfigError(
            f"{key} must be a number below {sys.float_info.max:.1e}, got one of {value.bit_length()} bits"
        )
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{key} must be without NUL characters, got {value!r}")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_text(text: str, kinds: Sequence[Any], key: str) -> Any:
    """A value of the command line: as it stands for a string, otherwise YAML, where a list needs no brackets."""
    if type(None) in kinds and text in ("", "null", "none", "None", "~"):
        return None
    if str in kinds:
        return text
    lists = all(typing.get_origin(kind) is tuple for kind in kinds if kind is not type(None))
    if (lists or "," in text) and not text.startswith(("[", "{")):
        text = f"[{text}]"
    try:
        return yaml_text.parse(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {text!r} is not a YAML value {error}") from error


def _follow(root: type, location: Iterable[str | int]) -> tuple[str, Sequence[Any]]:
    """The key that ``location`` means, as far as there is such a field below ``root``, and the types it may have."""
    key = ""
    kinds: Sequence[Any] = [root]
    for part in location:
        inner = [kind for kind in (_inner(kind, part) for kind in kinds) if kind is not None]
        if not inner:
            break
        key = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}".lstrip(".")
        kinds = typing.get_args(inner[0]) if typing.get_origin(inner[0]) in (typing.Union, types.UnionType) else inner
    return key, kinds


def _inner(kind: Any, part: str | int) -> Any:
    """The type of a section's field, or of a tuple's entry; None if ``kind`` has no such part."""
    if isinstance(part, int):
        return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
    return typing.get_type_hints(kind).get(part) if dataclasses.is_dataclass(kind) else None


_TYPES = {"int_type": "int", "float_type": "float", "bool_type": "bool", "string_type": "str", "tuple_type": "a list"}


def _message(error: ErrorDetails, root: type) -> str:
    """An error of pydantic on one line, with the key in our spelling."""
    key, kinds = _follow(root, error["loc"])
    value, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "unexpected_keyword_argument":
            return _unknown(
                str(error["loc"][-1]), f"{key}." if key else "", next(filter(dataclasses.is_dataclass, kinds))
            )
        case "dataclass_type":
            return f"{key} is a section with keys of its own, got {value!r}"
        case "literal_error":
            choices = [str(choice) for kind in kinds for choice in typing.get_args(kind)]
            return f"{key} must be one of {', '.join(choices)}, got {value!r}"
        case "missing" | "too_long" if isinstance(value, list):
            key, kinds = _follow(root, error["loc"][:-1] if error["type"] == "missing" else error["loc"])
            entries = next(typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is tuple)
            return f"{key} must have {len(entries)} entries, got {len(value)}"
        case "json_invalid":
            return "a value is not valid Unicode; a name or folder in it may need another"
        case "value_error":
            return f"{key} {context['error']}"
        case "greater_than_equal":
            return f"{key} must be at least {context['ge']}, got {value!r}"
        case "less_than_equal":
            return f"{key} must be at most {context['le']}, got {value!r}"
        case name if name in _TYPES:
            return f"{key} must be {_TYPES[name]}, got {value!r}"
    return f"{key}: {error['msg']}, got {value!r}"


def _unknown(name: str, prefix: str, section: Any) -> str:
    names = [item.name for item in dataclasses.fields(section)]
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {prefix}{nearest[0]}?" if nearest else f"known: {', '.join(prefix + name for name in names)}"
    return f"unknown configuration key {prefix}{name}; {hint}"
