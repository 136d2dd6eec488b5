"""The time that torchvision's models spend in what patch() replaces, whoever computes it."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from ldie_ext.compat.torchvision import _patch

MARK = "replaced: "


def time_in_replaced(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds by name, forward and backward, of the outermost replaced calls in one step."""
    with recorded(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.events()
    nodes: dict[tuple[int, int], Any] = {}  # autograd node: the op that made it, the last to see its number
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.fwd_thread == 0 and event.sequence_nr >= 0:  # not the node's own run, which has the number too
            nodes[event.thread, event.sequence_nr] = event
    times: dict[str, float] = defaultdict(float)
    for event in events:
        if event.name.startswith(MARK) and owner(event.cpu_parent) is None:
            times[event.name.removeprefix(MARK)] += event.cpu_time_total / 1e3
        elif event.name.startswith("autograd::engine::evaluate_function"):
            name = owner(nodes.get((event.fwd_thread, event.sequence_nr)))
            if name is not None:
                times[f"{name} backward"] += event.cpu_time_total / 1e3
    return dict(times)


def owner(event: Any) -> str | None:
    """The outermost replaced call that an event belongs to."""
    name = None
    while event is not None:
        if event.name.startswith(MARK):
            name = event.name.removeprefix(MARK)
        event = event.cpu_parent
    return name


@contextmanager
def recorded() -> Iterator[None]:
    """Marks the calls of every function and method that patch() replaces, as they are at the moment."""
    ops = import_module("torchvision.ops")
    functions = {getattr(ops, name): marked(name, getattr(ops, name)) for name in _patch.FUNCTIONS}
    owners = {key: getattr(import_module(key[0]), key[1]) for key in _patch.METHODS}
    methods = {key: vars(owner)[key[2]] for key, owner in owners.items()}
    _patch._swap(functions)
    for key, method in methods.items():
        setattr(owners[key], key[2], marked(f"{key[1]}.{key[2]}", method))
    try:
        yield
    finally:
        _patch._swap({ours: theirs for theirs, ours in functions.items()})
        for key, method in methods.items():
            setattr(owners[key], key[2], method)


def marked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + name):
            return function(*args, **kwargs)

    return call
