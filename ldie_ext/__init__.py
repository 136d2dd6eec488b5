"""Detection, segmentation and image-editing operators for PyTorch, in C++ and CUDA.

Every public op is importable from here: ``ldie_ext.nms``, ``ldie_ext.center_heatmap``, ... Nothing is loaded until the
first is used, so that ``import ldie_ext.coco`` stays free of torch.
"""

from importlib import import_module, metadata
from typing import Any

try:
    __version__ = metadata.version("ldie-ext")
except metadata.PackageNotFoundError:  # a source tree that was built but not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'ldie_ext' has no attribute {name!r}")
    public = import_module("ldie_ext.ops").PUBLIC
    if name not in public:
        raise AttributeError(f"module 'ldie_ext' has no attribute {name!r}; its ops are: {', '.join(sorted(public))}")
    globals().update(public)  # so that this is asked once
    return public[name]


def __dir__() -> list[str]:
    return sorted([*import_module("ldie_ext.ops").PUBLIC, "__version__"])
