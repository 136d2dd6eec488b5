"""Autograd of native ops: what a call costs beyond the kernel is decided here.

``torch.library.register_autograd`` does the same for any schema, at twice the cost. Our ops have positional arguments
without defaults, tensors and lists of tensors among them, and return tensors or one list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import _C


def without_autograd(op: torch._ops.OpOverload) -> Callable[..., Any]:
    """The op for eager callers: where nothing requires a gradient, the dispatcher does not come to Python's autograd.

    Under torch.compile, functorch's transforms and ``__torch_function__`` what requires a gradient is not to be seen on
    the arguments, and the dispatcher decides.
    """
    lists = _tensor_lists(op._schema.arguments)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or _C._are_functorch_transforms_active():
            return op(*args)
        tensors = _spread(args, lists) if lists else args
        if torch.is_grad_enabled() and _C._any_requires_grad(*tensors) or torch.overrides.has_torch_function(tensors):
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

    class Recorded(torch.autograd.Function):
        """Takes the op's arguments, those of lists one by one, then the dispatch keys and the lengths of the lists."""

        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            *inputs, keys, lengths = flat
            if lists:
                inputs = _gather(inputs, lists, lengths)
            with _C._AutoDispatchBelowAutograd():
                output = op.redispatch(keys, *inputs)
            if setup_context is not None:
                setup_context(ctx, inputs, output)
            return tuple(output) if returns_list else output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            results = backward(ctx, list(grads)) if returns_list else backward(ctx, *grads)
            if not isinstance(results, tuple):
                results = (results,)
            return *(_spread(results, lists) if lists else results), None, None

    Recorded.__name__ = Recorded.__qualname__ = op._schema.name.split("::")[1]

    def kernel(keys: _C.DispatchKeySet, *args: Any) -> Any:
        keys = keys & _C._after_autograd_keyset
        tensors = _spread(args, lists) if lists else args
        if torch.is_grad_enabled() and _C._any_requires_grad(*tensors):
            output = Recorded.apply(*tensors, keys, [len(args[i]) for i in lists])
            return list(output) if returns_list else output
        with _C._AutoDispatchBelowAutograd():
            return op.redispatch(keys, *args)

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
