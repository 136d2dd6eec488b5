"""Finds and loads the native libraries, and says what to do when one is missing or does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

FOLDER = Path(__file__).parent

#: CPU libraries by the instruction set that each needs, in torch's words, the best first.
_CPU_LIBRARIES = {"AVX512": "_C_avx512", "AVX2": "_C_avx2", "DEFAULT": "_C"}

#: The ops that public functions call, by name, as registered; a module, through which TorchScript sees them too. Tests
#: put those of the emulated CUDA kernels here.
ops = ModuleType(f"{__name__}.ops")


@dataclass(frozen=True)
class Status:
    """Whether one native library is in use, and if not, why."""

    name: str
    loaded: bool
    reason: str


_statuses: list[Status] = []


def _cpu_library() -> tuple[str, Path]:
    """The CPU library for the best instruction set that this machine runs and that was built, after that set's name."""
    capability = _capability()
    built = [name for name, library in _CPU_LIBRARIES.items() if (FOLDER / f"{library}.so").exists()]
    sets = list(_CPU_LIBRARIES)
    for name in sets[sets.index(capability) :]:
        if name in built:
            return name, FOLDER / f"{_CPU_LIBRARIES[name]}.so"
    if built:
        raise ImportError(
            f"ldie_ext in {FOLDER} is built for {' and '.join(built)}, but torch finds only {capability} here. Build "
            "it on this machine: `LDIE_CPU_CAPABILITIES=native pip install --no-build-isolation .` in the source tree"
        )
    raise ImportError(
        f"ldie_ext has no native library in {FOLDER}. Build it with `pip install --no-build-isolation .` "
        "(or `-e .`) in the source tree; when you run from inside the source tree, only `-e` puts it there."
    )


def _capability() -> str:
    """The instruction set of torch's own kernels here; ATEN_CPU_CAPABILITY lowers it, and so chooses our library."""
    capability = torch.backends.cpu.get_cpu_capability()
    return capability if capability in _CPU_LIBRARIES else "DEFAULT"


def _load_cpu() -> None:
    name, path = _cpu_library()
    try:
        torch.ops.load_library(path)
    except OSError as error:
        raise ImportError(
            f"{path.name} does not load into torch {torch.__version__}: {error}. ldie_ext needs torch >= 2.11; "
            "reinstall it with `pip install --no-build-isolation --force-reinstall --no-deps .`"
        ) from error
    capability = _capability()
    better = f"; this machine runs {capability}, and LDIE_CPU_CAPABILITIES=native builds for that"
    _statuses.append(Status(path.stem, True, f"for CPU capability {name}{'' if name == capability else better}"))


def _load_cuda() -> None:
    path = FOLDER / "_C_cuda.so"
    loaded = False
    if torch.version.cuda is None:
        reason = f"torch {torch.__version__} is a CPU build"
    elif not path.exists():
        reason = "not built: install with LDIE_CUDA=ON where nvcc is present"
    else:
        try:
            torch.ops.load_library(path)
            loaded, reason = True, f"torch built for CUDA {torch.version.cuda}"
        except OSError as error:
            reason = f"{error}; reinstall ldie_ext against this torch"
    _statuses.append(Status("_C_cuda", loaded, reason))


def cpu_path() -> Path:
    """The file of the CPU library that this process uses, loaded."""
    return FOLDER / f"{load()[0].name}.so"


def load() -> list[Status]:
    """Loads what this process can use, once; returns what was loaded and why the rest was not."""
    if not _statuses:
        _load_cpu()
        _load_cuda()
    return _statuses
