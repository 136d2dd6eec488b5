"""The ops, one file each in a folder per family. A file's ``__all__`` is what it makes public."""

import pkgutil
from importlib import import_module
from typing import Any

from ldie_ext import _library

_library.load()

PUBLIC: dict[str, Any] = {}
for _module_info in pkgutil.walk_packages(__path__, __name__ + "."):
    if not _module_info.ispkg:
        _module = import_module(_module_info.name)
        PUBLIC.update({name: getattr(_module, name) for name in _module.__all__})
