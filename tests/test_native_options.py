"""Options of native ops are integers, and other callers than the public functions write what they like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import op_cases
import pytest
import torch

from ldie_ext import _library, _register

#: Integers that are no options: numbers of something, of which any is right or has a check of its own.
NUMBERS = {
    "num_classes",
    "max_objects",
    "scale",
    "sampling_ratio",
    "canonical_level",
    "first_level",
    "stride",
    "columns",
    "top_k",
}


def recorded_calls() -> dict[str, tuple[Any, ...]]:
    """One call of each op that the cases come to, backward ops among them, and of what writes into a given tensor."""
    calls: dict[str, tuple[Any, ...]] = {}

    def recording(name: str, op: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.setdefault(name, tuple(arg.detach() if isinstance(arg, torch.Tensor) else arg for arg in args))
            return op(*args)

        return call

    original = _library.ops
    _library.ops = SimpleNamespace(
        **{name: recording(name, getattr(original, name)) for name in _register.registrations}
    )
    try:
        for case in op_cases.CASES:
            case.run(case.inputs_on(torch.device("cpu")))
    finally:
        _library.ops = original
    for name in _register.registrations:
        if name.endswith("_out"):
            inputs = calls[name.removesuffix("_out")]
            calls[name] = (*inputs, getattr(original, name.removesuffix("_out"))(*inputs))
    return calls


def options(name: str) -> Iterator[tuple[int, str]]:
    """Places and names of the options in an op's schema."""
    for place, argument in enumerate(getattr(torch.ops.ldie_ext, name).default._schema.arguments):
        if argument.real_type.kind() == "IntType" and argument.name not in NUMBERS:
            yield place, argument.name


WITH_OPTIONS = [name for name in sorted(_register.registrations) if any(options(name))]


@pytest.fixture(scope="module")
def calls() -> dict[str, tuple[Any, ...]]:
    return recorded_calls()


def test_there_are_options() -> None:
    assert len(WITH_OPTIONS) >= 15


@pytest.mark.parametrize("value", [-1, 7, 2**32, -(2**63)])
@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_numbers_of_no_option_are_refused(name: str, value: int, calls: dict[str, tuple[Any, ...]]) -> None:
    op = getattr(torch.ops.ldie_ext, name).default
    for place, _ in options(name):
        arguments = list(calls[name])
        arguments[place] = value
        with pytest.raises(RuntimeError, match=rf"must be the number of an option, 0 to \d, got {value}"):
            op(*arguments)
