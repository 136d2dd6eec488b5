"""grid_anchors, bit for bit as the peers' composed formulas, on every backend; torchvision where it is installed."""

from __future__ import annotations

import random

import pytest
import reference.anchors as reference
import torch
from backends import Backend
from op_checks import assert_compiles, assert_same, assert_threads_agree
from torch import Tensor

import ldie_ext
from ldie_ext.ops.boxes.grid_anchors import CONVENTIONS

CELLS = {"torchvision": reference.torchvision_cells, "detectron2": reference.detectron2_cells}
PYRAMID = {
    "sizes": ((32,), (64,), (128,), (256,), (512,)),
    "aspect_ratios": (0.5, 1.0, 2.0),
    "grid_sizes": [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)],
    "strides": (4, 8, 16, 32, 64),
}


def random_pyramid(number: int) -> dict[str, list]:
    """One to five levels, some of them empty, with sizes and ratios of their own."""
    rng = random.Random(number)
    levels = range(rng.randint(1, 5))
    return {
        "sizes": [
            [rng.choice([rng.randint(1, 600), rng.uniform(0.1, 99)]) for _ in range(rng.randint(1, 4))] for _ in levels
        ],
        "aspect_ratios": [[rng.uniform(0.1, 9) for _ in range(rng.randint(1, 4))] for _ in levels],
        "grid_sizes": [(rng.randint(0, 12), rng.randint(0, 14)) for _ in levels],
        "strides": [(rng.randint(0, 70), rng.randint(0, 70)) for _ in levels],
    }


def expected(pyramid: dict[str, list], convention: str, offset: float) -> tuple[Tensor, ...]:
    levels = zip(*pyramid.values(), strict=True)
    return tuple(
        reference.level_anchors(CELLS[convention](tuple(sizes), tuple(ratios)), grid, stride, offset)
        for sizes, ratios, grid, stride in levels
    )


@pytest.mark.sanitize
@pytest.mark.parametrize("offset", [0.0, 0.5, -1.25])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_matches_reference(backend: Backend, convention: str, offset: float) -> None:
    for number in range(40):
        pyramid = random_pyramid(number)
        anchors = ldie_ext.grid_anchors(**pyramid, convention=convention, offset=offset, device=backend.device)
        assert all(level.dtype == torch.float32 for level in anchors)
        assert_same(tuple(level.cpu() for level in anchors), expected(pyramid, convention, offset))


def test_real_pyramid(backend: Backend) -> None:
    anchors = ldie_ext.grid_anchors(**PYRAMID, device=backend.device)
    lists = {
        **PYRAMID,
        "aspect_ratios": [PYRAMID["aspect_ratios"]] * 5,
        "strides": [(s, s) for s in PYRAMID["strides"]],
    }
    assert sum(level.shape[0] for level in anchors) == 268_569
    assert_same(tuple(level.cpu() for level in anchors), expected(lists, "torchvision", 0.0))


def test_published_cells() -> None:
    """What torchvision's and detectron2's own code gives for size 32 and ratio 1/2."""
    (rounded,) = ldie_ext.grid_anchors((32,), (0.5,), [(1, 1)], (4,))
    assert rounded.tolist() == [[-23, -11, 23, 11]]
    (exact,) = ldie_ext.grid_anchors((32,), (0.5,), [(1, 1)], (4,), convention="detectron2")
    torch.testing.assert_close(exact, torch.tensor([[-22.627417, -11.3137085, 22.627417, 11.3137085]]), rtol=0, atol=0)


def test_rounding_is_half_to_even() -> None:
    (anchors,) = ldie_ext.grid_anchors(((1, 3, 5, 7),), ((1.0,),), [(1, 1)], (1,))
    assert anchors[:, 2].tolist() == [0, 2, 2, 4]


def test_levels_are_views_of_one_tensor(backend: Backend) -> None:
    first, empty, last = ldie_ext.grid_anchors(
        (8, 16, 32), (1.0,), [(2, 2), (0, 7), (1, 3)], (1, 2, 4), device=backend.device
    )
    assert (first.shape, empty.shape, last.shape) == ((4, 4), (0, 4), (3, 4))
    assert last.data_ptr() == first.data_ptr() + first.nbytes
    assert ldie_ext.grid_anchors((), (), [], (), device=backend.device) == []


def test_many_anchors_a_location(backend: Backend) -> None:
    """As many as the kernel's arguments hold, and one more."""
    sizes, ratios = list(range(1, 17)), [0.3, 0.5, 0.7, 1.0, 1.3, 2.0, 3.0, 4.0]
    (anchors,) = ldie_ext.grid_anchors([sizes], [ratios], [(2, 3)], [(3, 5)], device=backend.device)
    cells = reference.torchvision_cells(tuple(sizes), tuple(ratios))
    assert_same(anchors.cpu(), reference.level_anchors(cells, (2, 3), (3, 5), 0.0))
    with pytest.raises(RuntimeError, match="at most 128 boxes over all levels"):
        ldie_ext.grid_anchors([[*sizes, 99]], [ratios], [(2, 3)], [3], device=backend.device)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (32, 64)}, "sizes must have one list for each of the 5 levels of grid_sizes, got 2"),
        ({"sizes": ((32,),) * 4 + ((0,),)}, "sizes must be positive and finite, got 0"),
        ({"sizes": ((32,),) * 4 + ((float("nan"),),)}, "sizes must be positive and finite, got nan"),
        ({"aspect_ratios": (1.0, float("inf"))}, "aspect_ratios must be positive and finite, got inf"),
        (
            {"aspect_ratios": ((1.0,),)},
            "aspect_ratios must have one list for each of the 5 levels of grid_sizes, got 1",
        ),
        ({"strides": (4, 8)}, "strides must have one stride for each of the 5 levels of grid_sizes, got 2"),
        ({"strides": (4, 8, 16, 32, -1)}, r"strides must be in \[0, 2\^30\], got -1"),
        ({"grid_sizes": [(1, 1)] * 4 + [(-1, 2)]}, r"size must be \(height, width\) with 0 <= side"),
        ({"grid_sizes": [(1, 1)] * 4 + [(2**25, 2**25)]}, "grid_sizes must make at most 2.48 anchors a level"),
        ({"grid_sizes": [(1, 1)] * 17}, "grid_sizes must be .* at most 16 levels"),
    ],
)
def test_errors_name_the_argument(backend: Backend, change: dict[str, object], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        ldie_ext.grid_anchors(**{**PYRAMID, **change}, device=backend.device)


def test_counts_of_the_native_op(backend: Backend) -> None:
    """Lists that only the sum of their lengths fits."""
    like = torch.empty(0, device=backend.device)
    for counts in ([3, -1], [2], [2, 1]):
        with pytest.raises(RuntimeError, match="sizes must have one list for each of the 2 levels"):
            backend.op("grid_anchors")(like, [8.0, 16.0], counts, [1.0, 1.0], [1, 1], [1, 1, 1, 1], [1] * 4, 0, 0.0)


def test_unknown_convention() -> None:
    with pytest.raises(ValueError, match="convention must be one of"):
        ldie_ext.grid_anchors(**PYRAMID, convention="mmdet")


def test_dispatcher_contract(backend: Backend) -> None:
    like = torch.empty(0, device=backend.device)
    arguments = (like, [32.0, 64.0], [1, 1], [0.5, 1.0, 2.0], [1, 2], [3, 4, 2, 2], [4, 4, 8, 8], 0, 0.0)
    torch.library.opcheck(backend.op("grid_anchors"), arguments)


def test_compiles_with_sizes_that_change(backend: Backend) -> None:
    def anchors_of(features: Tensor) -> tuple[Tensor, ...]:
        height, width = features.shape
        return tuple(
            ldie_ext.grid_anchors(
                (32, 64), (0.5, 1.0), [(height, width), (height // 2, width)], (4, (8, 4)), device=features.device
            )
        )

    assert_compiles(anchors_of, torch.zeros(4, 6, device=backend.device))
    torch._dynamo.reset()
    compiled = torch.compile(anchors_of, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for height, width in ((4, 6), (5, 8), (9, 3)):
            features = torch.zeros(height, width, device=backend.device)
            assert_same(compiled(features), anchors_of(features))


def test_threads_agree() -> None:
    assert_threads_agree(lambda: tuple(ldie_ext.grid_anchors(**PYRAMID, convention="detectron2")))


def test_matches_torchvision() -> None:
    utils = pytest.importorskip("torchvision").models.detection.anchor_utils
    for number in range(200):
        pyramid = random_pyramid(number)
        peer = utils.AnchorGenerator(pyramid["sizes"], pyramid["aspect_ratios"])
        strides = [tuple(map(torch.tensor, stride)) for stride in pyramid["strides"]]
        assert_same(tuple(ldie_ext.grid_anchors(**pyramid)), tuple(peer.grid_anchors(pyramid["grid_sizes"], strides)))
