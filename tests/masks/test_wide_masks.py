"""Masks around and beyond the width that kernels keep as one piece: all forms say the same."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from masks.mask_inputs import pack, placed
from masks.polygon_inputs import coco_masks, random_instances
from op_checks import assert_same

import ldie_ext

SIZES = [(67, 2048), (35, 2049), (66, 4101), (3, 2040), (40, 1333)]


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
def test_all_forms_agree(backend: Backend, size: tuple[int, int]) -> None:
    instances = [*random_instances(4, size[1], seed=size[0]), []]
    masks = torch.from_numpy(coco_masks(instances, *size))
    assert masks.any()
    there, packed = masks.to(backend.device), pack(masks).to(backend.device)
    polygons = ldie_ext.Polygons.from_coco(instances).to(backend.device)
    assert_same(ldie_ext.polygons_to_masks(polygons, size), there)
    assert_same(ldie_ext.polygons_to_masks(polygons, size, packed=True), packed)
    expected = ldie_ext.rle_encode(there)
    counts, offsets = torch.ops.ldie_ext.rle_encode(masks, size[1], False, None)
    assert_same(expected.counts.cpu(), counts)
    assert_same(expected.offsets.cpu(), offsets)
    assert_same(ldie_ext.polygons_to_rle(polygons, size).counts, expected.counts)
    for rle in (
        ldie_ext.rle_encode(packed, packed_width=size[1]),
        ldie_ext.rle_encode(placed(there, 3)),
        ldie_ext.rle_encode(placed(packed, 3), packed_width=size[1]),
    ):
        assert_same(rle.counts, expected.counts)
        assert_same(rle.offsets, expected.offsets)
    assert_same(ldie_ext.rle_decode(expected), there)
    assert_same(ldie_ext.rle_decode(expected, packed=True), packed)


@pytest.mark.sanitize
@pytest.mark.parametrize("size", SIZES)
def test_same_numbers(backend: Backend, size: tuple[int, int]) -> None:
    masks = torch.rand(5, *size, generator=torch.Generator().manual_seed(1)) < 0.3
    masks[1, :, 9:] = False
    masks[2] = False
    there, packed = masks.to(backend.device), pack(masks).to(backend.device)
    dense, width = (size[1], False), size[1]
    boxes = torch.ops.ldie_ext.masks_to_boxes(masks, *dense, False)
    centers = list(torch.ops.ldie_ext.mask_centers(masks, *dense))
    ious = torch.ops.ldie_ext.mask_iou(masks, masks[:3], *dense, None)
    for form, packed_width in ((there, None), (packed, width), (placed(there, 3), None), (placed(packed, 3), width)):
        assert_same(ldie_ext.masks_to_boxes(form, packed_width=packed_width).cpu(), boxes)
        assert_same([each.cpu() for each in ldie_ext.mask_centers(form, packed_width=packed_width)], centers)
        assert_same(ldie_ext.mask_iou(form, form[:3], packed_width=packed_width).cpu(), ious)


@pytest.mark.sanitize
@pytest.mark.parametrize("convention", ["torchvision", "detectron2"])
@pytest.mark.parametrize("size", SIZES)
def test_same_pasted_pixels(backend: Backend, size: tuple[int, int], convention: str) -> None:
    height, width = size
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(3, 14, 14, generator=generator)
    boxes = torch.tensor([[-5.0, -3, width + 9, height + 4], [width - 90.5, 2, width - 3, 30], [3, 40, 2, 1]])
    rule = ["torchvision", "detectron2"].index(convention)
    expected = torch.ops.ldie_ext.paste_masks(masks, boxes, height, width, 0.5, rule, False)
    there = masks.to(backend.device), boxes.to(backend.device), size
    assert_same(ldie_ext.paste_masks(*there, convention=convention).cpu(), expected)
    packed = ldie_ext.paste_masks(*there, convention=convention, packed=True)
    assert_same(packed.cpu(), pack(expected))


@pytest.mark.sanitize
@pytest.mark.parametrize("aligned", [False, True])
def test_same_crops_of_wide_boxes(backend: Backend, aligned: bool) -> None:
    """Bins of more samples than a kernel keeps the places of."""
    masks = torch.rand(2, 35, 2049, generator=torch.Generator().manual_seed(3)) < 0.4
    boxes = torch.tensor([[-3.0, -2, 2060, 40], [5, 3, 1200, 9], [0, 0, 2049, 35], [9, 9, 9, 9]])
    instances = torch.tensor([0, 1, 1, 0])
    convention = "detectron2" if aligned else "torchvision"
    expected = torch.ops.ldie_ext.crop_and_resize_masks(masks, 2049, False, boxes, instances, 3, aligned)
    there = boxes.to(backend.device), 3
    options = {"instances": instances.to(backend.device), "convention": convention}
    assert_same(ldie_ext.crop_and_resize_masks(masks.to(backend.device), *there, **options).cpu(), expected)
