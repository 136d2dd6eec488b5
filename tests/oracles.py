"""What masks are compared with."""

from __future__ import annotations

try:
    from pycocotools import mask as pycoco
except ModuleNotFoundError:
    # Kernels still have something to be compared with where it is not installed: tests/coco shows, where it is, that
    # the host module gives the same bytes.
    from ldie_ext.coco import mask as pycoco

__all__ = ["pycoco"]
