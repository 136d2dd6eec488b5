"""paste_masks against both conventions by PyTorch's own interpolation, and against torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends import Backend
from masks.polygon_inputs import unpack
from op_checks import assert_compiles, assert_same, assert_threads_agree, random_boxes
from reference.paste import by_grid_sample, by_interpolate
from torch import Tensor

import ldie_ext

REFERENCES = {"detectron2": by_grid_sample, "torchvision": by_interpolate}
conventions = pytest.mark.parametrize("convention", sorted(REFERENCES))
nan, inf = float("nan"), float("inf")


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], backend: Backend, **options: object) -> Tensor:
    return ldie_ext.paste_masks(masks.to(backend.device), boxes.to(backend.device), size, **options).cpu()


@pytest.mark.sanitize
@conventions
@pytest.mark.parametrize("size", [(1, 1), (33, 64), (70, 37)])
@pytest.mark.parametrize("cells", [(1, 1), (28, 28), (5, 9)])
def test_same_pixels(backend: Backend, convention: str, size: tuple[int, int], cells: tuple[int, int]) -> None:
    masks, boxes = torch.rand(6, *cells), random_boxes(6, *size)
    expected = REFERENCES[convention](masks, boxes, size)
    assert_same(paste(masks, boxes, size, backend, convention=convention), expected)
    packed = paste(masks, boxes, size, backend, convention=convention, packed=True).numpy()
    np.testing.assert_array_equal(unpack(packed, size[1]), expected.numpy())
    assert not np.unpackbits(packed, axis=-1, bitorder="little")[..., size[1] :].any()


@conventions
def test_many_random_masks(convention: str) -> None:
    for seed in range(30):
        torch.manual_seed(seed)
        size, cells = tuple(torch.randint(1, 120, (2,)).tolist()), int(torch.randint(1, 40, ()))
        masks, boxes = torch.rand(20, cells, cells), random_boxes(20, *size)
        expected = REFERENCES[convention](masks, boxes, size, 0.4)
        assert_same(ldie_ext.paste_masks(masks, boxes, size, convention=convention, threshold=0.4), expected)


@conventions
def test_values_on_the_threshold(backend: Backend, convention: str) -> None:
    """Masks of zeros and ones on whole boxes, whose edges come out as exactly one half."""
    masks = (torch.rand(12, 4, 4) < 0.5).float()
    corners = torch.randint(0, 9, (12, 2))
    boxes = torch.cat([corners, corners + 4 * torch.randint(1, 6, (12, 2))], dim=1).float()
    expected = REFERENCES[convention](masks, boxes, (30, 31))
    assert_same(paste(masks, boxes, (30, 31), backend, convention=convention), expected)


@conventions
def test_several_rectangles(backend: Backend, convention: str) -> None:
    size = (40, 530)
    masks, boxes = torch.rand(2, 14, 14), torch.tensor([[3.2, -7.0, 500.9, 39.0], [200.0, 2.0, 600.0, 77.7]])
    expected = REFERENCES[convention](masks, boxes, size)
    assert_same(paste(masks, boxes, size, backend, convention=convention), expected)


@conventions
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(backend: Backend, convention: str, dtype: torch.dtype) -> None:
    """Half masks are read as they are and computed in float32."""
    masks, boxes = torch.rand(4, 9, 9, dtype=dtype), random_boxes(4, 40, 40)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = REFERENCES[convention](masks.to(wide), boxes.to(wide), (40, 40))
    assert_same(paste(masks, boxes, (40, 40), backend, convention=convention), expected)


@conventions
def test_degenerate_boxes(backend: Backend, convention: str) -> None:
    empty = torch.tensor(
        [[nan, 0, 9, 9], [0, 0, inf, 9], [-inf, -inf, inf, inf], [0, nan, 9, nan], [-30, 2, -20, 9], [2, 40, 9, 50]]
    )
    assert not paste(torch.ones(6, 7, 7), empty, (12, 13), backend, convention=convention).any()
    edge = torch.tensor([[3, 4, 3, 9], [3, 4, 3, 4], [3.2, 4, 3.3, 9], [-1e30, -1e30, 1e30, 1e30]])
    pasted = paste(torch.ones(4, 7, 7), edge, (12, 13), backend, convention=convention)
    assert_same(pasted[:3], REFERENCES[convention](torch.ones(3, 7, 7), edge[:3], (12, 13)))
    assert_same(pasted[3], torch.ones(12, 13, dtype=torch.bool))


def test_swapped_ends(backend: Backend) -> None:
    masks, boxes = torch.rand(3, 8, 8), torch.tensor([[10.0, 1.0, 2.0, 9.0]]).expand(3, 4)
    mirrored = paste(masks.flip(2), boxes[:, [2, 1, 0, 3]], (10, 12), backend, convention="detectron2")
    assert_same(paste(masks, boxes, (10, 12), backend, convention="detectron2"), mirrored)
    assert mirrored.any()
    assert not paste(masks, boxes, (10, 12), backend, convention="torchvision").any()


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_empty(backend: Backend, size: tuple[int, int]) -> None:
    assert paste(torch.rand(2, 3, 3), torch.zeros(2, 4), size, backend).shape == (2, *size)
    assert paste(torch.rand(0, 3, 3), torch.zeros(0, 4), (4, 4), backend).shape == (0, 4, 4)
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    for convention in REFERENCES:
        assert not paste(torch.rand(1, 0, 3), box, (4, 4), backend, convention=convention).any()


@pytest.mark.parametrize("packed", [False, True])
def test_out(backend: Backend, packed: bool) -> None:
    masks, boxes = torch.rand(3, 7, 7).to(backend.device), random_boxes(3, 20, 21).to(backend.device)
    expected = ldie_ext.paste_masks(masks, boxes, (20, 21), packed=packed)
    out = torch.full_like(expected, 1)
    assert ldie_ext.paste_masks(masks, boxes, (20, 21), packed=packed, out=out) is out
    assert_same(out, expected)


def test_large_masks_start_from_zero() -> None:
    masks, boxes, size = torch.rand(20, 28, 28), random_boxes(20, 1300, 1400), (1300, 1400)
    pasted = ldie_ext.paste_masks(masks, boxes, size, convention="detectron2")
    assert pasted.nbytes >= 32 << 20
    assert_same(pasted, by_grid_sample(masks, boxes, size))


def test_run_lengths_of_packed_masks(backend: Backend) -> None:
    masks, boxes = torch.rand(3, 7, 7).to(backend.device), random_boxes(3, 20, 21).to(backend.device)
    pasted = ldie_ext.paste_masks(masks, boxes, (20, 21))
    packed = ldie_ext.paste_masks(masks, boxes, (20, 21), packed=True)
    assert ldie_ext.rle_encode(packed, packed_width=21).to_coco() == ldie_ext.rle_encode(pasted).to_coco()


@conventions
def test_non_contiguous(backend: Backend, convention: str) -> None:
    masks, boxes = torch.rand(4, 6, 6).to(backend.device), random_boxes(4, 20, 20).to(backend.device)
    strided, channel = masks.mT.contiguous().mT, masks[:, None]
    expected = ldie_ext.paste_masks(masks, boxes, (20, 20), convention=convention)
    for view in (strided, channel):
        assert_same(ldie_ext.paste_masks(view, boxes.mT.contiguous().mT, (20, 20), convention=convention), expected)


def test_errors_name_the_argument(backend: Backend) -> None:
    masks, boxes = torch.rand(2, 5, 5).to(backend.device), torch.zeros(2, 4, device=backend.device)
    call = ldie_ext.paste_masks
    with pytest.raises(RuntimeError, match=r"masks must have shape \[N, h, w\], got \[2, 3, 5, 5\]"):
        call(torch.rand(2, 3, 5, 5, device=backend.device), boxes, (4, 4))
    with pytest.raises(RuntimeError, match="masks must be float32"):
        call(masks > 0, boxes, (4, 4))
    with pytest.raises(RuntimeError, match=r"boxes must have shape \[N, 4\], one per mask, got \[1, 4\]"):
        call(masks, boxes[:1], (4, 4))
    with pytest.raises(RuntimeError, match=r"size must be \(height, width\)"):
        call(masks, boxes, (-1, 4))
    with pytest.raises(RuntimeError, match="threshold must be above 0, got 0"):
        call(masks, boxes, (4, 4), threshold=0.0)
    with pytest.raises(ValueError, match="convention must be one of"):
        call(masks, boxes, (4, 4), convention="mmdet")
    with pytest.raises(RuntimeError, match="out must be bool"):
        call(masks, boxes, (4, 4), out=torch.zeros(2, 4, 4, device=backend.device))
    with pytest.raises(RuntimeError, match=r"out must have shape \[N, H, ceil\(W / 8\)\]"):
        call(masks, boxes, (4, 4), packed=True, out=torch.zeros(2, 4, 4, dtype=torch.uint8, device=backend.device))
    with pytest.raises(RuntimeError, match="out must be contiguous"):
        call(masks, boxes, (4, 4), out=torch.zeros(2, 4, 8, dtype=torch.bool, device=backend.device)[..., ::2])


def test_dispatcher_contract(backend: Backend) -> None:
    masks, boxes = torch.rand(2, 5, 5).to(backend.device), random_boxes(2, 8, 9).to(backend.device)
    out = torch.zeros(2, 8, 9, dtype=torch.bool, device=backend.device)
    torch.library.opcheck(backend.op("paste_masks"), (masks, boxes, 8, 9, 0.5, 1, True))
    torch.library.opcheck(backend.op("paste_masks_out"), (masks, boxes, 8, 9, 0.5, 0, False, out))


def test_compiles(backend: Backend) -> None:
    masks, boxes = torch.rand(2, 5, 5).to(backend.device), random_boxes(2, 8, 9).to(backend.device)
    assert_compiles(lambda *args: ldie_ext.paste_masks(*args, (8, 9)), masks, boxes)


@conventions
def test_threads_agree(convention: str) -> None:
    masks, boxes = torch.rand(40, 28, 28), random_boxes(40, 300, 310)
    assert_threads_agree(lambda: ldie_ext.paste_masks(masks, boxes, (300, 310), convention=convention))


def test_same_pixels_as_torchvision() -> None:
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    for seed in range(40):
        torch.manual_seed(seed)
        size, cells = tuple(torch.randint(8, 200, (2,)).tolist()), int(torch.randint(1, 40, ()))
        masks = torch.rand(12, 1, cells, cells)
        boxes = random_boxes(12, *size).clamp(min=0)
        boxes = boxes.minimum(torch.tensor([size[1], size[0]] * 2))
        expected = roi_heads.paste_masks_in_image(masks, boxes, size)[:, 0] > 0.5
        assert_same(ldie_ext.paste_masks(masks, boxes, size, convention="torchvision"), expected)
