# SPDX-License-Identifier: Apache-2.0
"""Packages that need not be installed."""

from __future__ import annotations

import importlib.util


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.has_location  # a mere folder of that name, as some tools make them, has none
