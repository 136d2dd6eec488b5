# SPDX-License-Identifier: Apache-2.0
"""Durations in steps, or in epochs of data whose size is not known before it is opened."""

from __future__ import annotations

import dataclasses
import math
import re
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from ldie.errors import ConfigError

Config = TypeVar("Config")
MOST = 2**31 - 1
_EPOCHS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*epochs?", re.IGNORECASE)


class Epochs(str):
    """A number of epochs as it is written, such as ``12 epochs``, until :func:`in_steps` replaces it."""

    def steps(self, epoch: Fraction) -> int:
        """So many steps that every sample was seen so often, for an epoch of so many steps: rounded up."""
        return math.ceil(Fraction(self.removesuffix("epochs").strip()) * epoch)


def _read(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    if not isinstance(value, str):
        return handler(value)
    found = _EPOCHS.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"must be a number of steps, or of epochs as in '12 epochs', got {value!r}")
    return Epochs(f"{found[1]} epochs")


Steps = Annotated[int, Field(ge=0, le=MOST), WrapValidator(_read)]
"""Type of a configuration's field: steps, or in files and on the command line also epochs. The loop puts
:func:`in_steps` in before it makes a model, so that who reads the field has an ``int``."""


def epochs(count: int) -> Any:
    """So many epochs, as the default of a field of type :data:`Steps`."""
    return Epochs(f"{count} epochs")


def in_steps(config: Config, epoch: Fraction) -> Config:
    """A copy of a configuration in which all epochs are steps.

    Steps pass over the end of an epoch, so one that the batch does not divide has a fraction of a step more; only the
    sum is rounded up: of ten samples in batches of four, one epoch is three steps, two are five.

    Args:
        config: A frozen dataclass; its sections are frozen dataclasses too.
        epoch: Steps of one epoch: samples divided by those of a step.

    Raises:
        ConfigError: More steps than a run can have; the message names the key.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Solver:
        ...     max_iter: Steps = Epochs("2 epochs")
        >>> in_steps(Solver(), Fraction(10, 4))
        Solver(max_iter=5)
    """
    return _in_steps(config, epoch, "")


def _in_steps(value: Any, epoch: Fraction, key: str) -> Any:
    if isinstance(value, Epochs):
        steps = value.steps(epoch)
        if steps > MOST:
            raise ConfigError(f"{key} must be at most {MOST} steps, got {value}, which are {steps}")
        return steps
    if isinstance(value, tuple):
        return tuple(_in_steps(item, epoch, f"{key}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        changed = {name: _in_steps(item, epoch, f"{key}.{name}".lstrip(".")) for name, item in fields.items()}
        return dataclasses.replace(value, **{name: item for name, item in changed.items() if item is not fields[name]})
    return value
