"""Wires an op's Python side - fake, autograd, autocast - to its native kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch.jit._builtins import _register_builtin

from ldie_ext import _library
from ldie_ext._autograd import make_autograd_kernel, without_autograd

NAMESPACE = "ldie_ext"


@dataclass(frozen=True)
class Registration:
    """What Python adds to one native op."""

    name: str
    fake: Callable[..., Any]
    setup_context: Callable[..., None] | None
    backward: Callable[..., Any] | None
    discrete: bool
    autocast: torch.dtype | None


#: Every op of the library, by name, for the completeness test and for other namespaces (the emulated kernels).
registrations: dict[str, Registration] = {}


def register(
    name: str,
    *,
    fake: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    discrete: bool = False,
    autocast: torch.dtype | None = None,
) -> None:
    """Registers the Python side of ``torch.ops.ldie_ext.<name>``, and makes the op ``_library.ops.<name>``.

    Args:
        name: the op's name in its native schema.
        fake: computes output shapes and dtypes only (checks stand in the native code).
        setup_context: as in :func:`torch.library.register_autograd`.
        backward: likewise, but that ``ctx.needs_input_grad`` counts each tensor of a list by itself; without it the op
            raises when a gradient is asked of it.
        discrete: the outputs are indices or masks that can never require a gradient: nothing is wired, which saves
            the autograd detour on each call.
        autocast: the dtype that floating inputs are cast to under autocast.
    """
    registration = Registration(name, fake, setup_context, backward, discrete, autocast)
    registrations[name] = registration
    op = apply(registration, NAMESPACE)
    setattr(_library.ops, name, op)
    _register_builtin(op, f"{NAMESPACE}::{name}")  # what TorchScript calls where a public function calls it


def apply(registration: Registration, namespace: str) -> Callable[..., Any]:
    """Wires one registration to the op of that name in a namespace; returns the op as public functions call it."""
    qualified = f"{namespace}::{registration.name}"
    if not hasattr(getattr(torch.ops, namespace), registration.name):
        raise ImportError(
            f"the native library has no op {qualified}: it is older than these Python files. Build it again with "
            "`pip install --no-build-isolation -e .` in the source tree"
        )
    op: torch._ops.OpOverload = getattr(getattr(torch.ops, namespace), registration.name).default
    torch.library.register_fake(qualified, registration.fake)
    if registration.autocast is not None:
        for device in ("cpu", "cuda"):
            torch.library.register_autocast(qualified, device, registration.autocast)
    if registration.discrete:
        return op
    backward = registration.backward or _refuse(registration.name)
    library = torch.library.Library(namespace, "FRAGMENT")
    _alive.append(library)
    kernel = make_autograd_kernel(op, registration.setup_context, backward)
    library.impl(registration.name, kernel, "Autograd")
    return without_autograd(op)


#: A registration ends with its library.
_alive: list[torch.library.Library] = []


def _refuse(name: str) -> Callable[..., NoReturn]:
    def backward(*_: object) -> NoReturn:
        raise RuntimeError(f"ldie_ext.{name} is not differentiable: detach its inputs")

    return backward
