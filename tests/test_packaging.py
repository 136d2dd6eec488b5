"""The source distribution builds and installs, and a request that cannot be met is one clear error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def make(*arguments: str, cwd: Path, **environment: str) -> str:
    """The output of a make that knows nothing of the one that runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LDIE_", "MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    given = {**inherited, **environment}
    return subprocess.run(command, cwd=cwd, env=given, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.slow
def test_sdist_installs(tmp_path: Path) -> None:
    code = f"import setuptools.build_meta as backend; print(backend.build_sdist({str(tmp_path)!r}))"
    built = run(sys.executable, "-c", code, cwd=ROOT)
    assert built.returncode == 0, built.stdout
    (archive,) = tmp_path.glob("*.tar.gz")
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--target", site)
    quick = {"LDIE_CUDA": "OFF", "LDIE_CPU_CAPABILITIES": "DEFAULT", "CXXFLAGS": "-O0"}
    installed = run(*pip, archive, cwd=tmp_path, LDIE_CMAKE_ARGS="-DCMAKE_CXX_FLAGS_RELEASE=", **quick)
    assert installed.returncode == 0, installed.stdout

    code = (
        "import torch, ldie_ext, ldie, ldie_ext.coco\n"
        "print(ldie_ext.__file__)\n"
        "print(ldie_ext.box_class_masks(torch.tensor([[0., 0., 2., 2.]]), torch.tensor([0]), torch.tensor([0, 1]), 1, "
        "(3, 3)).sum().item())"
    )
    used = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(site))
    assert used.returncode == 0, used.stdout
    assert used.stdout.split() == [str(site / "ldie_ext" / "__init__.py"), "4"]
    assert (site / "ldie_ext" / "py.typed").exists()
    assert (site / "ldie" / "py.typed").exists()


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("LDIE_CUDA", "ON", "LDIE_CUDA=ON, but no nvcc was found"),
        ("LDIE_CUDA", "MAYBE", "LDIE_CUDA must be AUTO, ON or OFF, got 'MAYBE'"),
        (
            "LDIE_CPU_CAPABILITIES",
            "AVX2;SSE",
            "LDIE_CPU_CAPABILITIES must be native or some of DEFAULT;AVX2;AVX512, got",
        ),
    ],
)
def test_impossible_requests(name: str, setting: str, message: str, tmp_path: Path) -> None:
    environment = {"LDIE_CUDA": "OFF", "PATH": "/nowhere", "CUDA_HOME": "/nowhere", "CUDACXX": "", name: setting}
    asked = run(sys.executable, "setup.py", "build_ext", "--build-temp", tmp_path, "--build-lib", tmp_path, cwd=ROOT,
                **environment)  # fmt: skip
    assert asked.returncode != 0
    assert asked.stdout.strip().splitlines()[-1].startswith(message)


@pytest.mark.parametrize("capability", ["", "default"])  # this machine's own, and the least
def test_native_build_makes_the_library_that_will_be_loaded(capability: str, tmp_path: Path) -> None:
    tools = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    environment = {**tools, "ATEN_CPU_CAPABILITY": capability} if capability else tools
    code = "from ldie_ext import _library; print(_library._CPU_LIBRARIES[_library._capability()])"
    wanted = run(sys.executable, "-c", code, cwd=ROOT, **environment).stdout.strip()
    options = ("-DLDIE_CPU_CAPABILITIES=native", "-DLDIE_CUDA=OFF", f"-DPython_EXECUTABLE={sys.executable}")
    configured = run("cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja", *options, cwd=ROOT, **environment)
    assert configured.returncode == 0, configured.stdout
    assert set(re.findall(r"^build (_C\w*)\.so:", (tmp_path / "build.ninja").read_text(), re.M)) == {wanted}


@pytest.mark.parametrize(
    ("gpu", "given", "settings"),
    [
        ("echo 8.6", {}, ["native", "AUTO", "86-real"]),
        ("echo NVIDIA-SMI has failed because there is no driver 5.0; exit 9", {}, ["native", "OFF", "90-real"]),
        ("exit 127", {}, ["native", "OFF", "90-real"]),
        ("exit 127", {"LDIE_CUDA": "ON"}, ["native", "ON", "90-real"]),
        ("echo 9.0", {"LDIE_CPU_CAPABILITIES": "DEFAULT;AVX2"}, ["DEFAULT;AVX2", "AUTO", "90-real"]),
    ],
)
def test_make_builds_what_this_machine_runs(
    gpu: str, given: dict[str, str], settings: list[str], tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{gpu}\n")
    tool.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert make("--eval", "ask: ; @$(SETTINGS)", "ask", cwd=ROOT, PATH=path, **given).splitlines() == [*settings, ""]


def test_make_builds_again_when_a_setting_changes(tmp_path: Path) -> None:
    """With a pip that only counts, in a copy of what make looks at."""
    for name in ("Makefile", "CMakeLists.txt", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "csrc").mkdir()
    pip = tmp_path / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\necho "$LDIE_CPU_CAPABILITIES" >> builds\n')
    pip.chmod(0o755)
    (tmp_path / ".venv" / "created").touch()
    for capabilities in ("native", "native", "DEFAULT;AVX2", "DEFAULT;AVX2", "native"):
        make("setup", cwd=tmp_path, LDIE_CPU_CAPABILITIES=capabilities)
    assert (tmp_path / "builds").read_text().split() == ["native", "DEFAULT;AVX2", "native"]
