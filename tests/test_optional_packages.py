"""Where a package is missing, what needs it is skipped, and everything else is collected and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
#: What tests and benchmarks compare with, or what only training needs.
OPTIONAL = (
    "cv2", "faster_coco_eval", "hotcoco", "lightning", "onnx", "onnxruntime", "onnxscript", "pycocotools", "pyvips",
    "torchvision", "tqdm", "transformers",
)  # fmt: skip
WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({OPTIONAL}))  # importing None is a ModuleNotFoundError
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def run(*arguments: str, backends: str = "") -> str:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    done = subprocess.run(
        command, env=os.environ | {"LDIE_BACKENDS": backends}, cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_cases_for_a_gpu_are_collected() -> None:
    cases = run("--collect-only", "tests", backends="cuda").splitlines()
    families = {Path(case.partition("::")[0]).parent.name for case in cases if "cuda" in case}
    assert families >= {"adversarial", "boxes", "conv", "heatmap", "losses", "masks", "roi", "suppression"}
    assert any("test_same_numbers_as_coco" in case for case in cases)


def test_all_benchmarks_are_collected() -> None:
    cases = run("--collect-only", "-c", "benchmarks/pytest.ini", "--rootdir=benchmarks", "benchmarks")
    benches = {path.name for path in (ROOT / "benchmarks").glob("*/bench_*.py")}
    skipped = {"bench_evaluation.py"}  # about these packages, as a whole
    assert {name for name in benches if name not in cases} <= skipped


def test_masks_have_something_to_be_compared_with() -> None:
    assert "skipped" not in run("tests/masks/test_rle_area.py", backends="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are cases for the GPU that is here")
def test_no_cases_for_a_gpu_that_is_not_here() -> None:
    assert "cuda" not in run("--collect-only", "tests/masks/test_rle_area.py")
