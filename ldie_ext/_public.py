"""The door of public functions: what goes wrong with an argument is an error that names function and argument.

Checks of shapes, dtypes and devices stand in native code. What fails before it comes there - an attribute that None
does not have, a pair that has three items - is explained here, once for all functions, and only after it has failed:
a call that succeeds pays for an empty ``try`` (0.1 us).
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])

#: What Python and PyTorch raise at a wrong argument. Their subclasses mean something else, and go through.
_OF_ARGUMENTS = (
    AttributeError, IndexError, KeyError, NotImplementedError, OverflowError, RuntimeError, TypeError, ValueError,
    ZeroDivisionError,
)  # fmt: skip


def public(function: Function) -> Function:
    """The function, with errors that name it and its argument."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except _OF_ARGUMENTS as error:
            explained = _explained(function, args, kwargs, error)
            if explained is error:
                raise
            raise explained from error

    call.__prepare_scriptable__ = lambda: function  # type: ignore[attr-defined]  # TorchScript reads the function itself
    return typing.cast(Function, call)


def _explained(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> Exception:
    """What to raise in place of an error: itself where it says enough."""
    if type(error) not in _OF_ARGUMENTS:
        return error
    try:
        arguments = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:
        return error  # Python's own, on arguments that are missing or unknown
    message = str(error).split("\n")[0]
    if "not enough memory for a tensor" in message or message.split(": ")[-1] == "not enough memory":
        return _of_memory(message, arguments, error)
    name, hints = function.__name__, typing.get_type_hints(function)
    says_enough = re.match(rf"{name}: |({'|'.join(arguments)})\b.* must ", message) is not None
    for argument, value in arguments.items():
        if not says_enough and not _fits(value, hints[argument]):
            wanted = function.__annotations__[argument]
            return TypeError(f"{name}: {argument} must be {wanted}, got {shown(value)}")
    named = isinstance(error, (RuntimeError, TypeError, ValueError)) and type(error) is not NotImplementedError
    if says_enough or (named and re.search(rf"\b({'|'.join(arguments)})\b", message)):
        return error
    listed = ", ".join(f"{argument} {shown(value)}" for argument, value in arguments.items())
    return RuntimeError(f"{name}: {message}; it was called with {listed}")


def _of_memory(message: str, arguments: Mapping[str, Any], error: Exception) -> Exception:
    """PyTorch's own class on CUDA, which callers catch to try again with less."""
    if any(isinstance(value, Tensor) and value.is_cuda for value in arguments.values()):
        return torch.OutOfMemoryError(message)
    return error


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of an annotated type, as far as that can be told."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is typing.Literal:
        return isinstance(value, str)
    if origin is tuple or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        if isinstance(value, (str, bytes, Tensor)) or not isinstance(value, Sequence):
            return False
        items = inner if origin is tuple and inner[-1] is not Ellipsis else inner[:1] * len(value)
        return len(items) == len(value) and all(map(_fits, value, items))
    if hint in (int, float):
        return not isinstance(value, Tensor) and _is_number(value, operator.index if hint is int else float)
    return not inspect.isclass(hint) or isinstance(value, hint)


def _is_number(value: Any, convert: Callable[[Any], int | float]) -> bool:
    if isinstance(value, str):
        return False
    try:
        number = convert(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return convert is float or -(2**63) <= number < 2**63


def is_tensor(value: object, dtype: torch.dtype, dimensions: int) -> bool:
    """Whether something is a tensor of this kind."""
    return isinstance(value, Tensor) and value.dtype == dtype and value.dim() == dimensions


def shown(value: object) -> str:
    """What came, for messages: of tensors shape, dtype and device."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
