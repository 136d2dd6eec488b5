"""patch() reaches every place that holds a function, and unpatch() leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from ldie_ext.compat import torchvision as compat
from ldie_ext.compat.torchvision import _patch

tv = pytest.importorskip("torchvision")


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    yield
    compat.unpatch()


def held() -> dict[str, Any]:
    """Everything that a name of torchvision's modules, or of the patched classes, stands for."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "torchvision"}
    names = {f"{name}.{key}": value for name, module in modules.items() for key, value in vars(module).items()}
    for module, owner, _ in _patch.METHODS:
        names.update({f"{owner}.{key}": value for key, value in vars(getattr(modules[module], owner)).items()})
    return names


def differences(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    assert before.keys() <= after.keys()
    return {name for name, value in before.items() if value is not after[name]}


def test_every_binding_is_replaced_and_restored() -> None:
    before = held()
    compat.patch()
    replaced = differences(before, held())
    for name in _patch.FUNCTIONS:
        places = {place for place, value in before.items() if value is before[f"torchvision.ops.{name}"]}
        assert places <= replaced
    assert {f"{owner}.{name}" for _, owner, name in _patch.METHODS} <= replaced
    assert "torchvision.models.detection.roi_heads.roi_align" in replaced
    compat.unpatch()
    assert not differences(before, held())


def test_again_and_again_changes_nothing() -> None:
    before = held()
    compat.unpatch()
    compat.patch()
    once = held()
    compat.patch()
    assert not differences(once, held())
    compat.unpatch()
    compat.unpatch()
    assert not differences(before, held())


def test_context_manager_restores_after_errors_and_keeps_an_outer_patch() -> None:
    before = held()
    with pytest.raises(KeyError), compat.patched():
        assert differences(before, held())
        raise KeyError
    assert not differences(before, held())
    compat.patch()
    with compat.patched():
        pass
    assert differences(before, held())


def test_modules_loaded_while_patched_are_restored() -> None:
    late = ModuleType("torchvision.late")
    sys.modules[late.__name__] = late
    original = tv.ops.nms
    try:
        with compat.patched():
            late.suppress = tv.ops.nms
            assert late.suppress is not original
        assert late.suppress is original
    finally:
        del sys.modules[late.__name__]


def test_our_ops_run(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 3), torch.rand(3)

    def refuse(*_: object) -> None:
        raise AssertionError("torchvision's op ran")

    monkeypatch.setattr(torch.ops.torchvision, "nms", refuse)
    with compat.patched():
        assert len(tv.ops.nms(boxes, scores, 0.5)) == 1
    with pytest.raises(AssertionError, match="torchvision's op ran"):
        tv.ops.nms(boxes, scores, 0.5)


def test_tracing_keeps_torchvisions_ops() -> None:
    boxes, scores = torch.rand(5, 4), torch.rand(5)
    with compat.patched():
        traced = torch.jit.trace(lambda boxes, scores: tv.ops.nms(boxes, scores, 0.5), (boxes, scores))
    assert "torchvision::nms" in str(traced.graph)


def test_scripted_before_works_while_patched() -> None:
    scripted = torch.jit.script(tv.ops.nms)
    boxes, scores = torch.rand(50, 4), torch.rand(50)
    expected = tv.ops.nms(boxes, scores, 0.5)
    with compat.patched():
        assert torch.equal(scripted(boxes, scores, 0.5), expected)
