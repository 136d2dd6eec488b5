"""The source distribution builds and installs, and a request that cannot be met is one clear error."""

from __future__ import annotations

import os
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


@pytest.mark.slow
def test_sdist_installs(tmp_path: Path) -> None:
    code = f"import setuptools.build_meta as backend; print(backend.build_sdist({str(tmp_path)!r}))"
    built = run(sys.executable, "-c", code, cwd=ROOT)
    assert built.returncode == 0, built.stdout
    (archive,) = tmp_path.glob("*.tar.gz")
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--target", site)
    installed = run(*pip, archive, cwd=tmp_path, LDIE_CUDA="OFF", LDIE_CPU_CAPABILITIES="DEFAULT", LDIE_CMAKE_ARGS="")
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
    ("setting", "message"),
    [("ON", "LDIE_CUDA=ON, but no nvcc was found"), ("MAYBE", "LDIE_CUDA must be AUTO, ON or OFF, got 'MAYBE'")],
)
def test_impossible_cuda_requests(setting: str, message: str, tmp_path: Path) -> None:
    environment = {"LDIE_CUDA": setting, "PATH": "/nowhere", "CUDA_HOME": "/nowhere", "CUDACXX": ""}
    asked = run(sys.executable, "setup.py", "build_ext", "--build-temp", tmp_path, "--build-lib", tmp_path, cwd=ROOT,
                **environment)  # fmt: skip
    assert asked.returncode != 0
    assert asked.stdout.strip().splitlines()[-1].startswith(message)
