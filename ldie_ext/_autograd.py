"""Autograd of native ops: what a call costs beyond the kernel is decided here.

``torch.library.register_autograd`` does the same for any schema, at twice the cost. Our ops have positional arguments
without defaults, tensors and lists of tensors among them, and return tensors or one list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import _C
from torch._functorch.utils import enable_single_level_autograd_function
from torch.overrides import has_torch_function

_NOTHING = nullcontext()


def without_autograd(op: torch._ops.OpOverload) -> Callable[..., Any]:
    """The op for eager callers: where nothing requires a gradient, the dispatcher does not come to Python's autograd.

    Under torch.compile, functorch's transforms and ``__torch_function__`` what requires a gradient is not to be seen on
    the arguments, and the dispatcher decides.
    """
    last = max(i for i, argument in enumerate(op._schema.arguments) if "Tensor" in str(argument.type))
    lists = _tensor_lists(op._schema.arguments)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or _C._are_functorch_transforms_active():
            return op(*args)
        tensors = args[: last + 1]
        if (
            (torch.is_grad_enabled() and _C._any_requires_grad(*tensors))
            or has_torch_function(tensors)
            or (lists and any(has_torch_function(args[i]) for i in lists))
        ):
            return op(*args)
        with _C._AutoDispatchBelowAutograd():
            return op(*args)

    return call


def make_autograd_kernel(
    op: torch._ops.OpOverload, setup_context: Callable[..., None] | None, backward: Callable[..., Any]
) -> Callable[..., Any]:
    """The kernel of an op's Autograd key: the op below it, recorded where something requires a gradient.

    Args:
        op: the op, registered for devices.
        setup_context: called as ``setup_context(ctx, inputs, output)`` after the forward.
        backward: called as ``backward(ctx, *grads)``; returns one gradient for each argument, a list for a list.
    """
    lists = _tensor_lists(op._schema.arguments)
    returns_list = bool(_tensor_lists(op._schema.returns))

    # A torch.autograd.Function would begin functorch's transforms anew. Here, below the dispatcher, one is at work.
    class Recorded(torch.autograd.function._SingleLevelFunction):
        """Takes the op's arguments, those of lists one by one, then the lengths of the lists."""

        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            *inputs, lengths = flat
            if lists:
                inputs = _gather(inputs, lists, lengths)
            # A transform's level records this call without gradients, as always; the levels below may want them.
            below = torch.enable_grad() if _C._are_functorch_transforms_active() else _NOTHING
            with _C._AutoDispatchBelowAutograd(), below:
                output = op(*inputs)
            if setup_context is not None:
                setup_context(ctx, inputs, output)
            return tuple(output) if returns_list else output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            results = backward(ctx, list(grads)) if returns_list else backward(ctx, *grads)
            if not isinstance(results, tuple):
                results = (results,)
            return *(_spread(results, lists) if lists else results), None

    record: Callable[..., Any] = Recorded.apply  # type: ignore[attr-defined]  # of its base in C++
    Recorded.__name__ = Recorded.__qualname__ = op._schema.name.split("::")[1]  # what grad_fn shows

    def kernel(*args: Any) -> Any:
        if not (torch.is_grad_enabled() and _C._any_requires_grad(*args)):
            with _C._AutoDispatchBelowAutograd():
                return op(*args)
        tensors = _spread(args, lists) if lists else args
        with enable_single_level_autograd_function() if _C._are_functorch_transforms_active() else _NOTHING:
            output = record(*tensors, [len(args[i]) for i in lists])
        return list(output) if returns_list else output

    return kernel


def _tensor_lists(values: Sequence[Any]) -> tuple[int, ...]:
    """Which arguments or returns of a schema are lists of tensors."""
    return tuple(i for i, value in enumerate(values) if str(value.type) == "List[Tensor]")


def _spread(args: Sequence[Any], lists: tuple[int, ...]) -> list[Any]:
    """The arguments with those of the lists in their places."""
    flat: list[Any] = []
    for i, arg in enumerate(args):
        if i in lists:
            flat.extend(arg)
        else:
            flat.append(arg)
    return flat


def _gather(flat: Sequence[Any], lists: tuple[int, ...], lengths: Sequence[int]) -> list[Any]:
    """The arguments that were spread."""
    args = list(flat)
    for i, length in zip(lists, lengths, strict=True):
        args[i : i + length] = [args[i : i + length]]
    return args
