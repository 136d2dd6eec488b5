# SPDX-License-Identifier: Apache-2.0
"""The systems by name; the module of one is imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldie.engine.system import System

SYSTEMS = {
    "centernet": "ldie.systems.centernet:CenterNet",
    "rcnn": "ldie.systems.rcnn:RCNN",
    "solo": "ldie.systems.solo:SOLO",
    "mask_pyramid": "ldie.systems.mask_pyramid:MaskPyramid",
    "editing": "ldie.systems.editing:Editing",
}


class UnknownSystemError(ValueError):
    """No such system, or not in this version."""


def get_system(name: str) -> type[System]:
    """The class of the system called ``name``.

    Raises:
        UnknownSystemError: The name is not in ``SYSTEMS``, or its module is not part of this version.
    """
    if name not in SYSTEMS:
        nearest = difflib.get_close_matches(name, SYSTEMS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(SYSTEMS)}"
        raise UnknownSystemError(f"unknown system {name!r}; {hint}")
    module, _, attribute = SYSTEMS[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UnknownSystemError(f"system {name!r} is not available in this version; use centernet") from None
