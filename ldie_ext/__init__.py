"""Detection, segmentation and image-editing operators for PyTorch, in C++ and CUDA.

Every public op is importable from here: ``ldie_ext.nms``, ``ldie_ext.center_heatmap``, ... and so are the modules
``ldie_ext.nn``, ``ldie_ext.coco``, ``ldie_ext.compat`` and ``ldie_ext.memory``. Nothing is loaded until the first is
used, so that ``import ldie_ext.coco`` stays free of torch.
"""

from importlib import import_module, metadata
from typing import Any

try:
    __version__ = metadata.version("ldie-ext")
except metadata.PackageNotFoundError:  # a source tree that was built but not installed
    __version__ = "0+unknown"


_MODULES = ("coco", "compat", "info", "memory", "nn", "ops")


def __getattr__(name: str) -> Any:  # what it finds stays in globals(), so that nothing is asked twice
    if name in _MODULES:
        return import_module(f"ldie_ext.{name}")
    if name.startswith("_"):
        raise AttributeError(f"module 'ldie_ext' has no attribute {name!r}")
    public = import_module("ldie_ext.ops").PUBLIC
    globals().update(public)
    if name not in public:
        known = f"its ops are: {', '.join(sorted(public))}; its modules: {', '.join(_MODULES)}"
        raise AttributeError(f"module 'ldie_ext' has no attribute {name!r}; {known}")
    return public[name]


def __dir__() -> list[str]:
    return sorted([*import_module("ldie_ext.ops").PUBLIC, *_MODULES, "__version__"])
