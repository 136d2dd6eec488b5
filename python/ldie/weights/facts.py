# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint of ours says of the data it learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

HEADER = "ldie"
"""The key of a checkpoint's metadata that holds all of it as JSON."""


def read_facts(path: Path) -> Mapping[str, Any]:
    """The facts in a checkpoint's header; empty for files of others."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[HEADER])["facts"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
