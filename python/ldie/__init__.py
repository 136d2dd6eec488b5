# SPDX-License-Identifier: Apache-2.0
"""Five detection, segmentation and editing systems on the operators of ``ldie_ext``: train, evaluate, predict."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ldie-ext")
except PackageNotFoundError:
    __version__ = "0+unknown"
"""Version of the installed distribution; ``0+unknown`` in a source tree that is not installed."""
