"""torchvision itself: what it has beyond the replaced names, and its own functions while they are replaced."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

#: torchvision.ops' own functions, by name, as long as patch() holds.
replaced: dict[str, Any] = {}


def module(name: str, reason: str) -> ModuleType:
    """A module of torchvision; without torchvision an ImportError that gives the reason for asking."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise ImportError(f"{reason}, and torchvision is not installed") from error


def original(name: str, case: str) -> Any:
    """torchvision.ops' own function of that name, for a case that ldie_ext leaves to it."""
    if name in replaced:
        return replaced[name]
    return getattr(module("torchvision.ops", f"{name} with {case} is left to torchvision"), name)
