# SPDX-License-Identifier: Apache-2.0
"""Thin driver: metadata is in pyproject.toml, the native build in CMakeLists.txt.

Environment: LDIE_CUDA=AUTO|ON|OFF (default AUTO: ON where nvcc is found), LDIE_CUDA_ARCHITECTURES="90",
LDIE_CPU_CAPABILITIES="DEFAULT;AVX2;AVX512" or native (the best of these that this machine runs),
LDIE_CMAKE_ARGS (more arguments for cmake), MAX_JOBS.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


def find_nvcc() -> str | None:
    """The CUDA compiler cmake should use, or None."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    for candidate in (os.environ.get("CUDACXX"), shutil.which("nvcc"), f"{home}/bin/nvcc"):
        if candidate and shutil.which(candidate):
            return candidate
    return None


def cuda_arguments() -> list[str]:
    """Cmake arguments for LDIE_CUDA; a request that cannot be met is an error here, not a wall of cmake output."""
    wanted = os.environ.get("LDIE_CUDA", "AUTO").upper()
    if wanted not in ("AUTO", "ON", "OFF"):
        sys.exit(f"LDIE_CUDA must be AUTO, ON or OFF, got {wanted!r}")
    nvcc = find_nvcc()
    if wanted == "ON" and nvcc is None:
        sys.exit("LDIE_CUDA=ON, but no nvcc was found: put it on PATH, set CUDACXX or CUDA_HOME, or use LDIE_CUDA=OFF")
    if wanted == "OFF" or nvcc is None:
        return ["-DLDIE_CUDA=OFF"]
    return ["-DLDIE_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={nvcc}"]


def cpu_arguments() -> list[str]:
    """Cmake arguments for LDIE_CPU_CAPABILITIES, which cmake would take with any spelling."""
    wanted = os.environ.get("LDIE_CPU_CAPABILITIES")
    if not wanted:
        return []
    if wanted != "native" and not set(wanted.split(";")) <= {"DEFAULT", "AVX2", "AVX512"}:
        sys.exit(f"LDIE_CPU_CAPABILITIES must be native or some of DEFAULT;AVX2;AVX512, got {wanted!r}")
    return [f"-DLDIE_CPU_CAPABILITIES={wanted}"]


class CMakeBuild(build_ext):
    """Runs cmake once and installs every library beside the Python files of ldie_ext."""

    def run(self) -> None:
        """Configure, build, install."""
        package = Path(self.get_ext_fullpath(self.extensions[0].name)).resolve().parent
        build = ROOT / "build" / f"native-{sys.implementation.cache_tag}"  # kept, so that the next build is incremental
        (build / "CMakeCache.txt").unlink(missing_ok=True)  # earlier options; cmake's --fresh would delete objects too
        tools = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
        configure = [
            *("cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
            *(f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_INSTALL_PREFIX={package}"),
            *cuda_arguments(),
            *cpu_arguments(),
        ]
        if os.environ.get("LDIE_CUDA_ARCHITECTURES"):
            configure.append(f"-DLDIE_CUDA_ARCHITECTURES={os.environ['LDIE_CUDA_ARCHITECTURES']}")
        configure += os.environ.get("LDIE_CMAKE_ARGS", "").split()
        subprocess.check_call(configure, env=tools)
        jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
        subprocess.check_call(["cmake", "--build", str(build), "--parallel", jobs], env=tools)
        for library in package.glob("_C*.so"):  # of an earlier build for more instruction sets, or with CUDA: outdated
            library.unlink()
        subprocess.check_call(["cmake", "--install", str(build)], env=tools)


packages = find_packages(str(ROOT), include=["ldie_ext", "ldie_ext.*"]) + find_packages(str(ROOT / "python"))

setup(
    packages=packages,
    package_dir={"ldie": "python/ldie"},
    package_data={"ldie_ext": ["py.typed", "*.pyi"], "ldie": ["py.typed"]},
    ext_modules=[Extension("ldie_ext._host", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
