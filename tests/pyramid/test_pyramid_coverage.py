"""pyramid_coverage against a pixel by pixel reference and the composed form, on every backend."""

from __future__ import annotations

import random
from typing import Any

import pytest
import reference.pyramid_coverage as reference
import torch
from backends import EMULATED, SANITIZED, Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INF, NAN = float("inf"), float("nan")
Options = dict[str, Any]


def composed(logits: Tensor, alive: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Softmax, maximum and top-k over the slots; more than top_k are alive."""
    masked = logits.masked_fill(~alive[:, :, None, None], -INF)
    best = masked.topk(top_k, dim=1).indices.flatten(1)
    return masked.softmax(1).amax(1), torch.zeros_like(alive).scatter(1, best, torch.ones_like(best, dtype=torch.bool))


def some_places(rng: random.Random, shape: tuple[int, ...]) -> Options:
    """Inside and outside of the map, on borders of cells, in other units, and not finite."""
    options: Options = {"step": rng.choice([1, 1, 2, 8, 0.7])}
    if rng.random() < 0.6:
        places = torch.rand(*shape[:2], 2, dtype=torch.float64) * 15 - 2
        places = (places.round() if rng.random() < 0.5 else places) * options["step"]
        for special in (NAN, INF, -INF, 1e30, -1e30):
            places[torch.rand(places.shape) < 0.03] = special
        options["places"] = places.to(rng.choice([torch.float32, torch.float64, torch.bfloat16]))
    return options


def random_case(number: int) -> tuple[Tensor, Tensor, Options]:
    rng = random.Random(number)
    torch.manual_seed(number)
    shape = rng.choice([1, 2]), rng.choice([0, 1, 3, 8, 9, 17, 40]), rng.choice([1, 2, 5]), rng.choice([1, 3, 6, 11])
    logits = torch.randn(shape, dtype=torch.float64) * rng.choice([1, 5, 60])
    if rng.random() < 0.4:
        logits = logits.round()  # equal ones
    for special in (NAN, INF, -INF):
        if rng.random() < 0.2:
            logits[torch.rand(shape) < 0.1] = special
    alive = torch.rand(shape[:2]) < rng.choice([0.1, 0.5, 0.9, 1])
    options: Options = {"mode": rng.choice(["softmax", "max"]), "top_k": rng.choice([1, 2, 3, 3, 5, 8])}
    if rng.random() < 0.5:
        options["background"] = rng.uniform(-4, 4)
    if rng.random() < 0.4:
        options["sizes"] = torch.randint(-1, 8, (shape[0], 2))
    options |= some_places(rng, shape)
    dtype = rng.choice(FLOATS)
    if dtype == torch.float64:  # whose shares are never so near to it that rounding decides
        options["floor"] = rng.choice([0.0, 0.013, 0.37, 1.0])
    return logits.to(dtype), alive, options


def on(backend: Backend, logits: Tensor, alive: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor | None]:
    moved = {name: value.to(backend.device) if isinstance(value, Tensor) else value for name, value in options.items()}
    found = ldie_ext.pyramid_coverage(logits.to(backend.device), alive.to(backend.device), **moved)
    return found.coverage.cpu(), found.present.cpu(), None if found.responses is None else found.responses.cpu()


def assert_covers(actual: Tensor, expected: Tensor) -> None:
    rtol, atol = (1e-12, 1e-15) if actual.dtype == torch.float64 else (3e-6, 1e-37)
    torch.testing.assert_close(actual, expected.to(actual.dtype), rtol=rtol, atol=atol)


@pytest.mark.sanitize
def test_matches_reference(backend: Backend) -> None:
    for number in range(60 if SANITIZED else 500):
        logits, alive, options = random_case(number)
        coverage, present, responses = on(backend, logits, alive, options)
        expected = reference.pyramid_coverage(logits, alive, **options)
        assert coverage.dtype == (torch.float64 if logits.dtype == torch.float64 else torch.float32)
        assert_covers(coverage, expected[0])
        assert_same(present, expected[1])
        assert (responses is None) == (expected[2] is None)
        if responses is not None:
            assert_same(responses, expected[2].to(coverage.dtype))


@pytest.mark.parametrize("shape", [(2, 80, 25, 42), (1, 20, 7, 11), (1, 300, 3, 5), (1, 4, 129, 130)], ids=str)
def test_matches_composed(backend: Backend, shape: tuple[int, ...]) -> None:
    for dtype in FLOATS[:2]:
        logits, alive = 4 * torch.randn(shape, dtype=dtype), torch.rand(shape[:2]) < 0.8
        alive[:, :3] = True
        coverage, present, _ = on(backend, logits, alive, {})
        expected = composed(logits, alive, 3)
        torch.testing.assert_close(coverage, expected[0], rtol=1e-5, atol=0)
        assert_same(present, expected[1])


def test_backends_agree(backend: Backend) -> None:
    """Who is present is the same everywhere. Sums have one order, so shares differ by their exponentials alone."""
    for number in range(30):
        logits, alive, options = random_case(number)
        on_cpu = torch.ops.ldie_ext.pyramid_coverage(
            logits, alive, options.get("places"), options["step"], ("softmax", "max").index(options["mode"]),
            options["top_k"], options.get("background"), options.get("floor", 0.0), options.get("sizes"),
        )  # fmt: skip
        coverage, present, responses = on(backend, logits, alive, options)
        assert_same(present, on_cpu[1])
        assert_covers(coverage, on_cpu[0])
        if responses is not None:
            assert_same(responses, on_cpu[2])
        if backend is EMULATED and logits.dtype == torch.float64:
            assert_same(coverage, on_cpu[0])


def test_shares_far_apart(backend: Backend) -> None:
    """Exponentials neither overflow nor end the claim of what is small."""
    logits = torch.tensor([3e38, -3e38, 5.0, INF, INF, -INF, NAN], device=backend.device).view(1, 7, 1, 1)

    def found(slots: list[int], **options: Any) -> tuple[float, list[int]]:
        alive = torch.zeros(1, 7, dtype=torch.bool, device=backend.device)
        alive[0, slots] = True
        coverage, present, _ = ldie_ext.pyramid_coverage(logits, alive, **options)
        return coverage.item(), present[0].nonzero().flatten().tolist()

    assert found([0, 1, 2]) == (1, [0, 1, 2])
    assert found([0, 1, 2], floor=1e-30) == (1, [0])
    assert found([1], background=5.0) == (0, [1])
    assert found([2], background=5.0) == (0.5, [2])
    assert found([3, 4, 5, 6]) == (0.5, [3, 4])
    assert found([5, 6]) == (0, [])
    assert found([5, 6], background=-100.0) == (0, [])
    assert found([0, 1, 5, 6], mode="max") == (1, [0, 1])
    assert found([1, 2], mode="max", floor=0.5)[1] == [2]
    assert found([0, 1], mode="max", background=-3e38) == (1, [0, 1])
    assert found([2], mode="max", background=5.0) == (0.5, [2])
    assert found([]) == (0, [])


def test_lower_slots_come_first(backend: Backend) -> None:
    """Of equal logits, over all groups of slots and for every top_k."""
    for top_k in range(1, 9):
        for slots in (1, 7, 20, 90):
            logits = torch.zeros(1, slots, 2, 3, device=backend.device)
            logits[:, slots // 2] = 1
            alive = torch.ones(1, slots, dtype=torch.bool, device=backend.device)
            alive[0, 1::3] = False
            present = ldie_ext.pyramid_coverage(logits, alive, top_k=top_k).present[0]
            living = alive[0].nonzero().flatten().tolist()
            order = sorted(living, key=lambda slot: (slot != slots // 2, slot))
            assert present.nonzero().flatten().tolist() == sorted(order[:top_k])


@pytest.mark.parametrize("shape", [(0, 2, 3, 3), (2, 0, 3, 3), (1, 2, 0, 3), (1, 2, 3, 0)])
def test_empty(backend: Backend, shape: tuple[int, ...]) -> None:
    coverage, present, _ = on(backend, torch.zeros(shape), torch.ones(shape[:2], dtype=torch.bool), {})
    assert_same(coverage, torch.zeros(shape[0], *shape[2:]))
    assert_same(present, torch.zeros(shape[:2], dtype=torch.bool))


def test_outside_of_sizes(backend: Backend) -> None:
    logits, alive = torch.zeros(3, 1, 4, 5), torch.ones(3, 1, dtype=torch.bool)
    coverage, present, _ = on(backend, logits, alive, {"mode": "max", "sizes": torch.tensor([[2, 3], [-1, 9], [9, 9]])})
    expected = torch.ones(3, 4, 5)
    expected[0, :2, :3] = expected[2] = 0.5
    assert_same(coverage, expected)
    assert present.tolist() == [[True], [False], [True]]


def test_sizes_in_pixels(backend: Backend) -> None:
    """Cells that the image ends in count; those that begin where it ends do not."""
    logits, alive = torch.zeros(4, 1, 3, 4), torch.ones(4, 1, dtype=torch.bool)
    sizes = torch.tensor([[16, 17], [1, 8], [0, 99], [24, 2**62]])
    coverage, _, _ = on(backend, logits, alive, {"mode": "max", "sizes": sizes, "step": 8.0})
    expected = torch.ones(4, 3, 4)
    expected[0, :2, :3] = expected[1, :1, :1] = expected[3] = 0.5
    assert_same(coverage, expected)


def test_responses(backend: Backend) -> None:
    logits = torch.arange(6.0).view(1, 1, 2, 3).repeat(1, 10, 1, 1)
    logits[0, 8] = NAN
    places = [(0, 0), (23.9, 7.9), (24, 8), (-1, 9), (1e38, -1e38), (8, 16), (NAN, 3), (3, INF), (8, 8), (8, 8)]
    alive = torch.arange(10)[None] < 9
    options: Options = {"places": torch.tensor(places)[None], "step": 8, "sizes": torch.tensor([[1, 1]])}
    expected = torch.tensor([[0, 2, 5, 3, 2, 4, -INF, -INF, NAN, -INF]])
    for dtype in FLOATS:
        coverage, _, responses = on(backend, logits.to(dtype), alive, options)
        assert responses is not None
        assert_same(responses, expected.to(coverage.dtype))
    assert on(backend, logits, alive, {})[2] is None


def test_non_contiguous(backend: Backend) -> None:
    logits = torch.randn(2, 9, 12, 10, device=backend.device)
    alive = (torch.rand(9, 2, device=backend.device) < 0.7).mT
    sizes = torch.tensor([[5, 4], [3, 6]], device=backend.device).mT
    places = (6 * torch.rand(2, 2, 9, device=backend.device)).permute(0, 2, 1)
    strided = logits.contiguous(memory_format=torch.channels_last)[:, :, 1::2]
    dense = [each.contiguous() for each in (strided, alive, places, sizes)]
    assert_same(
        ldie_ext.pyramid_coverage(strided, alive, places=places, sizes=sizes),
        ldie_ext.pyramid_coverage(dense[0], dense[1], places=dense[2], sizes=dense[3]),
    )


def test_errors_name_the_argument(backend: Backend) -> None:
    logits = torch.zeros(2, 3, 4, 5, device=backend.device)
    alive = torch.ones(2, 3, dtype=torch.bool, device=backend.device)
    refused: list[tuple[Tensor, Tensor, Options, str]] = [
        (logits[0], alive, {}, r"logits must have shape \[B, A, h, w\], got \[3, 4, 5\]"),
        (logits.long(), alive, {}, "logits must be float32"),
        (logits, alive.float(), {}, "alive must be bool"),
        (logits, alive[:, 1:], {}, r"alive must have shape \[B, A\], one per map of logits, got \[2, 2\]"),
        (logits, alive, {"sizes": alive[:, 1:]}, "sizes must be int64"),
        (logits, alive, {"sizes": alive.long()}, r"sizes must have shape \[B, 2\], one per image of logits"),
        (logits, alive, {"places": alive}, "places must be float32, float64, float16 or bfloat16, got .* bool"),
        (logits, alive, {"places": logits[0]}, r"places must have shape \[B, A, 2\], one per map of logits, got"),
        (logits, alive, {"step": 0}, "step must be above 0 and finite, got 0"),
        (logits, alive, {"step": NAN}, "step must be above 0 and finite, got nan"),
        (logits, alive, {"top_k": 0}, "top_k must be 1 to 8, got 0"),
        (logits, alive, {"top_k": 9}, "top_k must be 1 to 8, got 9"),
        (logits, alive, {"background": NAN}, "background must be finite as float32, got nan"),
        (logits.half(), alive, {"background": 1e39}, r"background must be finite as float32, got 1e\+39"),
        (logits, alive, {"floor": -0.5}, "floor must be at least 0 and at most 1, got -0.5"),
        (logits, alive, {"floor": NAN}, "floor must be at least 0 and at most 1, got nan"),
    ]
    for given, living, options, message in refused:
        with pytest.raises(RuntimeError, match=f"pyramid_coverage: {message}"):
            ldie_ext.pyramid_coverage(given, living, **options)
    with pytest.raises(ValueError, match=r"mode must be one of \['softmax', 'max'\], got 'mean'"):
        ldie_ext.pyramid_coverage(logits, alive, mode="mean")  # type: ignore[arg-type]


def test_gradient_is_refused(backend: Backend) -> None:
    logits = torch.zeros(1, 2, 3, 4, device=backend.device, requires_grad=True)
    found = ldie_ext.pyramid_coverage(logits, torch.ones(1, 2, dtype=torch.bool, device=backend.device))
    with pytest.raises(RuntimeError, match="pyramid_coverage is not differentiable: detach its inputs"):
        found.coverage.sum().backward()


def test_dispatcher_contract(backend: Backend) -> None:
    logits = torch.randn(2, 5, 3, 7, device=backend.device)
    alive = torch.rand(2, 5, device=backend.device) < 0.7
    sizes = torch.tensor([[3, 4], [2, 7]], device=backend.device)
    places = 7 * torch.rand(2, 5, 2, device=backend.device)
    for arguments in ((places, 2.0, 0, 3, 0.5, 0.1, sizes), (None, 1.0, 1, 4, None, 0.0, None)):
        torch.library.opcheck(backend.op("pyramid_coverage"), (logits, alive, *arguments))


def test_compiles(backend: Backend) -> None:
    logits = torch.randn(2, 5, 3, 7, device=backend.device)
    assert_compiles(
        lambda logits, alive, places: ldie_ext.pyramid_coverage(logits, alive, places=places, step=4, background=1.0),
        logits,
        torch.rand(2, 5, device=backend.device) < 0.7,
        20 * torch.rand(2, 5, 2, device=backend.device),
    )


def test_threads_agree() -> None:
    logits, alive = torch.randn(3, 40, 50, 84), torch.rand(3, 40) < 0.8
    assert_threads_agree(lambda: ldie_ext.pyramid_coverage(logits, alive, floor=0.3))
