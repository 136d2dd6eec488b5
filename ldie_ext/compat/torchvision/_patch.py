"""Puts this library's ops into torchvision, and takes them out again."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType
from typing import Any

import torch

from ldie_ext.compat.torchvision import _functions, _matching, _methods, _peer

FUNCTIONS: dict[str, Callable[..., Any]] = {  # by their names in torchvision.ops
    "batched_nms": _functions.batched_nms,
    "box_iou": _functions.box_iou,
    "complete_box_iou": _functions.complete_box_iou,
    "deform_conv2d": _functions.deform_conv2d,
    "distance_box_iou": _functions.distance_box_iou,
    "generalized_box_iou": _functions.generalized_box_iou,
    "nms": _functions.nms,
    "roi_align": _functions.roi_align,
    "sigmoid_focal_loss": _functions.sigmoid_focal_loss,
}

_DETECTION = "torchvision.models.detection"

METHODS: dict[tuple[str, str, str], Callable[..., Any]] = {  # by module, class and name
    (f"{_DETECTION}._utils", "BoxCoder", "decode_single"): _methods.decode_single,
    (f"{_DETECTION}._utils", "BoxCoder", "encode_single"): _methods.encode_single,
    (f"{_DETECTION}.anchor_utils", "AnchorGenerator", "forward"): _methods.generate_anchors,
    (f"{_DETECTION}.retinanet", "RetinaNet", "compute_loss"): _matching.retinanet_loss,
    (f"{_DETECTION}.roi_heads", "RoIHeads", "assign_targets_to_proposals"): _matching.assign_to_proposals,
    (f"{_DETECTION}.rpn", "RegionProposalNetwork", "assign_targets_to_anchors"): _matching.assign_to_anchors,
    ("torchvision.ops.poolers", "MultiScaleRoIAlign", "forward"): _methods.pool_levels,
}

_lock = threading.Lock()
_swapped: dict[Any, Any] = {}  # torchvision's function: what stands in for it
_methods_before: list[tuple[type, str, Any]] = []


def patch() -> None:
    """Makes torchvision compute with this library's ops; again and again changes nothing.

    Replaced are the functions of torchvision.ops of the names in FUNCTIONS, in every module of torchvision that holds
    them, and the methods in METHODS on torchvision's own classes: so models that exist already change too, in both
    directions. Names that other modules imported from torchvision before stay as they were. What draws random
    numbers (the sampler of positive and negative examples) is left alone.

    Results are torchvision's up to rounding, in its dtypes, also under autocast. Three things differ: dtypes that
    torchvision has no kernel for work, batched_nms never lets boxes of different groups suppress each other (below 0
    torchvision's may), and second derivatives of the overlaps and of the focal loss raise.

    Kept from torchvision are subclasses that bring a matcher, a similarity or a choice of levels of their own, and
    quantized tensors, and what torch.jit.trace and torch.jit.script make, before patch() or after it, and so the ONNX
    export, which knows torchvision's ops only.

    It changes the modules of the process: call it before threads use torchvision, not while they do.

    Raises:
        ImportError: torchvision is not installed.
    """
    with _lock:
        if _swapped:
            return
        ops = _peer.module("torchvision.ops", "patch() is for torchvision")
        theirs = {name: getattr(ops, name) for name in FUNCTIONS}
        owners = {key: getattr(import_module(key[0]), key[1]) for key in METHODS}
        _peer.replaced.update(theirs)
        _swapped.update({theirs[name]: _stand_in(ours, theirs[name]) for name, ours in FUNCTIONS.items()})
        _swap(_swapped)
        for key, ours in METHODS.items():
            _patch_method(owners[key], key[2], ours)


def unpatch() -> None:
    """Gives torchvision its own functions and methods back; without patch() before it nothing changes."""
    with _lock:
        _swap({ours: theirs for theirs, ours in _swapped.items()})
        for owner, name, method in _methods_before:
            setattr(owner, name, method)
        _swapped.clear()
        _peer.replaced.clear()
        _methods_before.clear()


@contextmanager
def patched() -> Iterator[None]:
    """patch() for a with statement; what was patched before it stays patched after it."""
    before = bool(_swapped)
    patch()
    try:
        yield
    finally:
        if not before:
            unpatch()


def _stand_in(ours: Callable[..., Any], theirs: FunctionType) -> Callable[..., Any]:
    """What is called in their place. TorchScript reads its source, and the globals of that, as theirs."""
    is_tracing = torch.jit.is_tracing  # type: ignore[attr-defined]

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return (theirs if is_tracing() else ours)(*args, **kwargs)

    names = dict(theirs.__globals__)  # where none is replaced: scripted code is torchvision's throughout
    in_their_place = FunctionType(stand_in.__code__, names, closure=stand_in.__closure__)
    return functools.wraps(theirs)(in_their_place)


def _patch_method(owner: type, name: str, ours: Callable[..., Any]) -> None:
    theirs = vars(owner)[name]
    _methods_before.append((owner, name, theirs))
    setattr(owner, name, _stand_in(functools.partial(ours, theirs), theirs))


def _swap(functions: dict[Any, Any]) -> None:
    """Replaces functions wherever a module of torchvision holds them, also in modules that were loaded since."""
    for name, module in list(sys.modules.items()):
        if name != "torchvision" and not name.startswith("torchvision."):
            continue
        for attribute, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and value in functions:
                setattr(module, attribute, functions[value])
