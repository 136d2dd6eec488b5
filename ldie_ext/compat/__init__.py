"""Stand-ins for the interfaces of other libraries; none of them is needed to import this."""

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name != "torchvision":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.torchvision")


def __dir__() -> list[str]:
    return ["torchvision"]
