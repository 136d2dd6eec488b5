# SPDX-License-Identifier: Apache-2.0
"""The systems by name; the module of one is imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import TYPE_CHECKING

from ldie.errors import UnknownNameError

if TYPE_CHECKING:
    from ldie.contract import System

SYSTEMS = {
    "centernet": "ldie.systems.centernet",
    "rcnn": "ldie.systems.rcnn",
    "solo": "ldie.systems.solo",
    "mask_pyramid": "ldie.systems.mask_pyramid",
    "editing": "ldie.systems.editing",
    "edit_classifier": "ldie.systems.edit_classifier",
    "edit_discriminator": "ldie.systems.edit_discriminator",
}
"""Modules that have a ``SYSTEM``."""


def get_system(name: str) -> System:
    """The system called ``name``.

    Raises:
        UnknownNameError: The name is not in ``SYSTEMS``, or its module is not part of this version.
    """
    if name not in SYSTEMS:
        nearest = difflib.get_close_matches(name, SYSTEMS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(SYSTEMS)}"
        raise UnknownNameError(f"unknown system {name!r}; {hint}")
    try:
        system: System = importlib.import_module(SYSTEMS[name]).SYSTEM
    except ModuleNotFoundError as error:
        if error.name != SYSTEMS[name]:
            raise
        here = [other for other, module in SYSTEMS.items() if importlib.util.find_spec(module)]
        raise UnknownNameError(f"system {name!r} is not available in this version; use {' or '.join(here)}") from None
    return system
