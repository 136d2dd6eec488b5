"""The ops, one file each in a folder per family. A file's ``__all__`` is what it makes public."""

import inspect
import pkgutil
from importlib import import_module
from typing import Any

from ldie_ext import _library
from ldie_ext._public import public

_library.load()

PUBLIC: dict[str, Any] = {}
for _module_info in pkgutil.walk_packages(__path__, __name__ + "."):
    if not _module_info.ispkg:
        _module = import_module(_module_info.name)
        for _name in _module.__all__:
            _value = getattr(_module, _name)
            if inspect.isfunction(_value):
                _value = public(_value)
                setattr(_module, _name, _value)  # one object by each of its names, as pickle asks
            PUBLIC[_name] = _value
