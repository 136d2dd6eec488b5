"""What a row could take at least: bytes, the machine's rates, and the floor out of both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import ldie_ext

MIB = 1 << 20


def rates(**changed: Any) -> dict[str, Any]:
    flat = {kind: [(MIB, rate), (256 * MIB, rate)] for kind, rate in (("read", 8e9), ("fill", 4e9), ("copy", 10e9))}
    return {**flat, "sgemm": 1e11, **changed}


def test_rate_between_working_sets() -> None:
    from floor import rate_at

    points = [(MIB, 40e9), (16 * MIB, 20e9), (256 * MIB, 10e9)]
    assert [rate_at(points, size * MIB) for size in (1, 16, 256)] == [40e9, 20e9, 10e9]
    assert rate_at(points, 4 * MIB) == pytest.approx(30e9)
    assert rate_at(points, 64 * MIB) == pytest.approx(15e9)
    assert rate_at(points, 0) == 40e9
    assert rate_at(points, 1 << 40) == 10e9


@pytest.mark.parametrize(
    ("read", "written", "flops", "seconds"),
    [
        (8e6, 0, 0, 1e-3),
        (0, 8e6, 0, 2e-3),
        (5e6, 5e6, 0, 1e-3),
        (13e6, 5e6, 0, 2e-3),  # a copy of 5 MB, and 8 MB more read
        (5e6, 9e6, 0, 2e-3),  # a copy of 5 MB, and 4 MB more written
        (8e6, 0, 5e7, 1e-3),  # bytes decide
        (8e6, 0, 5e8, 5e-3),  # arithmetic decides
    ],
)
def test_floor(read: float, written: float, flops: float, seconds: float) -> None:
    from floor import floor_seconds

    row = {"read_bytes": read, "written_bytes": written} | ({"flops": flops} if flops else {})
    assert floor_seconds(row, rates()) == pytest.approx(seconds)


def test_floor_depends_on_the_working_set() -> None:
    from floor import floor_seconds

    cached = rates(copy=[(MIB, 100e9), (256 * MIB, 10e9)])
    small, large = ({"read_bytes": size * MIB / 2, "written_bytes": size * MIB / 2} for size in (1, 256))
    assert floor_seconds(small, cached) == pytest.approx(MIB / 100e9)
    assert floor_seconds(large, cached) == pytest.approx(256 * MIB / 10e9)
    assert floor_seconds({}, cached) is None


def test_measured_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    import floor

    for name, value in {"WORKING_SETS": (MIB, 2 * MIB), "FRESH_BYTES": MIB, "MATRIX": 64, "SECONDS": 0.0}.items():
        monkeypatch.setattr(floor, name, value)
    before = torch.get_num_threads()
    measured = floor.measure((1, 2))
    assert torch.get_num_threads() == before
    assert list(measured) == ["1", "2"]
    for found in measured.values():
        for kind in ("read", "fill", "copy"):
            assert [size for size, _ in found[kind]] == [MIB, 2 * MIB]
            assert all(1e6 < rate < 1e13 for _, rate in found[kind])
        assert 1e6 < found["sgemm"] < 1e14
        assert 0 < found["call_seconds"] < 0.1
        assert floor.floor_seconds({"read_bytes": MIB, "written_bytes": MIB}, found)


def test_fill_and_copy_cover_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part left out would show as a rate that is too good."""
    import floor

    block, left = torch.zeros(MIB // 4), []

    def once(function: Callable[[], Any]) -> float:
        block.copy_(torch.arange(1, len(block) + 1))
        function()
        left.append(block.clone())
        return 1.0

    monkeypatch.setattr(torch, "zeros", lambda _: block)
    monkeypatch.setattr(floor, "best", once)
    with ThreadPoolExecutor(2) as pool:
        floor.moving_rates(MIB, 2, pool)
    _, filled, cleared, *copied = left
    assert filled.eq(1).all()
    assert cleared.eq(0).all()
    for found in copied:
        source, target = found.chunk(2)
        assert torch.equal(source, target)
        assert source.count_nonzero() == len(source)


def test_bytes_of_what_calls_take_and_give() -> None:
    from harness import bytes_of

    boxes = torch.zeros(3, 4)
    rle = ldie_ext.RLE.from_coco([{"size": [2, 2], "counts": b"13"}])
    assert bytes_of(boxes, [boxes.double(), None], {"a": boxes.numpy()}) == 48 + 96 + 48
    assert bytes_of(rle) == 2 * 4 + 2 * 8 + 2 * 8
    assert bytes_of([[1.0, 2.0]], b"abc", 5) == 16 + 3 + 8
    with pytest.raises(TypeError, match="object"):
        bytes_of(object())


def test_bytes_that_a_linear_function_touches() -> None:
    from harness import touched_bytes

    features = torch.zeros(1, 2, 16, 16)
    boxes = torch.tensor([[0.0, 2.0, 2.0, 4.0, 4.0]])
    assert touched_bytes(lambda maps: maps[..., :4, 1] * 2, features) == 4 * 2 * 4
    assert touched_bytes(lambda maps: ldie_ext.roi_align(maps, boxes, 2, 1.0, 1), features) == 4 * 2 * 9


def test_a_row_records_its_bytes() -> None:
    from harness import moved, step_bytes

    inputs = torch.zeros(10)
    step = step_bytes((inputs, inputs), output=0.0, gradients=inputs)
    assert step == {"read_bytes": 4 * 40 + 8, "written_bytes": 40 + 8}
    assert moved(lambda: inputs, None, None, None, False) == {}
    assert moved(lambda: inputs, 3, None, 5, True) == {
        "read_bytes": 3, "written_bytes": 40, "given_output": True, "flops": 5,
    }  # fmt: skip
    assert moved(lambda: object(), 3, 4, None, False)["written_bytes"] == 4
