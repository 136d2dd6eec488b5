"""COCO masks on NumPy arrays and bytes, without torch: usable in data-loader workers and evaluation scripts."""

from ldie_ext.coco import mask

__all__ = ["mask"]
