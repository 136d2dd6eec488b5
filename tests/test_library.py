"""The library as a whole: every op complete, every public name documented, nothing loaded before it is needed."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ldie_ext
from ldie_ext import _library, _register, _report, _stub
from ldie_ext.ops import PUBLIC

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
SECTIONS = ("Args:", "Returns:", "Raises:", "Differentiable:", "Deterministic:", "Source:", "Example:")


def native_ops() -> list[str]:
    """Every op that the native library defines."""
    prefix = "ldie_ext::"
    return [name[len(prefix) :] for name in torch._C._dispatch_get_all_op_names() if name.startswith(prefix)]


def stem(function: object) -> Path:
    """<family>/<op> of a public function."""
    return Path(inspect.getfile(inspect.unwrap(function))).relative_to(ROOT / "ldie_ext" / "ops").with_suffix("")  # type: ignore[arg-type]


def has_kernel(name: str, key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"ldie_ext::{name}", key)


@pytest.mark.parametrize("name", native_ops())
def test_native_op_is_complete(name: str) -> None:
    assert has_kernel(name, "CPU")
    assert has_kernel(name, "Meta"), "no fake"
    assert name in _register.registrations
    if torch.cuda.is_available():
        assert has_kernel(name, "CUDA")
    registration = _register.registrations[name]
    if not registration.discrete:
        assert has_kernel(name, "Autograd"), "neither a backward nor a refusal"


@pytest.mark.parametrize("name", native_ops())
def test_schema_is_one_that_autograd_understands(name: str) -> None:
    schema = getattr(torch.ops.ldie_ext, name).default._schema
    for argument in schema.arguments:  # the dispatcher would leave out defaults, and pass keywords apart
        assert not argument.has_default_value()
        assert not argument.kwarg_only
    lists = [value for value in schema.returns if "List" in str(value.type)]
    assert not lists or len(schema.returns) == 1


def test_every_registration_has_a_native_op() -> None:
    assert sorted(_register.registrations) == sorted(native_ops())


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_function_is_complete(name: str) -> None:
    function = FUNCTIONS[name]
    documentation = inspect.getdoc(function) or ""
    missing = [section for section in SECTIONS if section not in documentation]
    assert not missing, f"{name}'s docstring lacks {missing}"
    path = stem(function)
    assert (ROOT / "tests" / path.parent / f"test_{path.name}.py").exists()
    if "csrc/" in documentation:
        native = re.search(r"csrc/[\w/]+\.h", documentation)
        assert native, f"{name} does not name its native header"
        assert (ROOT / native[0]).exists(), f"{native[0]} does not exist"
        assert (ROOT / "benchmarks" / path.parent / f"bench_{path.name}.py").exists()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_docstring_examples_run(name: str) -> None:
    function = FUNCTIONS[name]
    names = {**vars(inspect.getmodule(function)), "ldie_ext": ldie_ext, "torch": torch}
    examples = doctest.DocTestFinder(recurse=False).find(function, name, globs=names)
    assert any(example.examples for example in examples), f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert all(runner.run(example).failed == 0 for example in examples)


def test_every_op_file_has_all_native_parts() -> None:
    for cuda in (ROOT / "csrc").rglob("*.cu"):
        present = [cuda.with_suffix(".h"), cuda.with_suffix(".cpp"), cuda.with_name(f"{cuda.stem}_cpu.cpp")]
        assert all(path.exists() for path in present), f"{cuda.stem} lacks one of {[path.name for path in present]}"


def test_source_files_stay_small() -> None:
    limits = {".py": 400, ".h": 300, ".cpp": 300, ".cu": 300, ".cuh": 300}
    folders = ("csrc", "ldie_ext", "python", "benchmarks", "tests")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*")):
        if path.suffix in limits:
            lines = len(path.read_text().splitlines())
            assert lines <= limits[path.suffix], f"{path.relative_to(ROOT)} has {lines} lines: split it by meaning"


def test_unknown_name_lists_the_ops() -> None:
    with pytest.raises(AttributeError, match=r"its ops are: .*box_class_masks"):
        _ = ldie_ext.no_such_op
    assert set(FUNCTIONS) <= set(dir(ldie_ext))


def test_type_stub_is_current() -> None:
    assert _stub.PATH.read_text() == _stub.stub(), "run `python -m ldie_ext._stub`"


def test_importing_coco_does_not_import_torch() -> None:
    code = "import sys, ldie_ext.coco; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_operators_does_not_import_pydantic() -> None:
    code = "import sys, ldie_ext; ldie_ext.nms; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_info_names_libraries_and_ops() -> None:
    text = _report.report()
    assert f"torch {torch.__version__}" in text
    assert all(status.name in text for status in _library.load())
    assert all(name in text for name in native_ops())


def test_missing_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_library, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match="pip install --no-build-isolation"):
        _library._load_cpu()
    (tmp_path / "_C.so").write_bytes(b"not a library")
    with pytest.raises(ImportError, match=r"does not load into torch .* reinstall"):
        _library._load_cpu()


def test_outdated_library_says_what_to_do() -> None:
    with pytest.raises(ImportError, match=r"no op ldie_ext::of_the_future.* Build it again"):
        _register.register("of_the_future", fake=torch.empty_like)
    del _register.registrations["of_the_future"]


@pytest.mark.parametrize(
    ("capability", "built", "loaded"),
    [
        ("AVX512", ["_C", "_C_avx2", "_C_avx512"], "_C_avx512"),
        ("AVX512", ["_C", "_C_avx2"], "_C_avx2"),
        ("AVX512", ["_C_avx2"], "_C_avx2"),
        ("AVX2", ["_C", "_C_avx2", "_C_avx512"], "_C_avx2"),
        ("AVX2", ["_C_avx2"], "_C_avx2"),
        ("AVX2", ["_C", "_C_avx512"], "_C"),
        ("NO AVX", ["_C", "_C_avx2", "_C_avx512"], "_C"),
    ],
)
def test_loader_takes_the_best_library_that_runs(
    capability: str, built: list[str], loaded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(_library, "FOLDER", tmp_path)
    monkeypatch.setattr(_library, "_statuses", [])
    monkeypatch.setattr(torch.ops, "load_library", lambda _: None)
    for name in built:
        (tmp_path / f"{name}.so").touch()
    _library._load_cpu()
    (status,) = _library._statuses
    assert status.name == loaded
    is_best = loaded == _library._CPU_LIBRARIES[_library._capability()]
    assert ("LDIE_CPU_CAPABILITIES=native" in status.reason) != is_best


@pytest.mark.parametrize(("capability", "built"), [("AVX2", "_C_avx512"), ("NO AVX", "_C_avx2")])
def test_library_for_a_better_machine_says_what_to_do(
    capability: str, built: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(_library, "FOLDER", tmp_path)
    (tmp_path / f"{built}.so").touch()
    with pytest.raises(
        ImportError, match=r"is built for AVX\d+, .* only (AVX2|DEFAULT) here.*LDIE_CPU_CAPABILITIES=native"
    ) as caught:
        _library._load_cpu()
    assert "\n" not in str(caught.value)
