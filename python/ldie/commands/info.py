# SPDX-License-Identifier: Apache-2.0
"""``ldie info``."""

from __future__ import annotations

import argparse


def info(options: argparse.Namespace) -> int:
    """Prints versions, devices, native libraries and operators."""
    import ldie_ext.info as ext_info  # not `from ldie_ext import`: it must work where the native libraries do not load

    return ext_info.main()
