# SPDX-License-Identifier: Apache-2.0
"""Whole passes through the model: what they cost in calls and memory, in which numbers they run, that they export."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.rcnn.batch import Batch
from ldie.systems.rcnn.config import PARTS, BoxHeadConfig, Convention, RCNNSolver
from ldie.systems.rcnn.model import RCNN
from ldie.systems.rcnn.phases import Phase
from ldie.systems.rcnn.presets import TINY
from ldie.systems.rcnn.training import Losses
from ldie.tasks.detection.results import coco_detections, write_records
from op_checks import peak_bytes
from systems.rcnn.batches import make_batch, make_model
from torch import Tensor
from torch.export import Dim
from torch.utils._python_dispatch import TorchDispatchMode

import ldie_ext

CPU = torch.device("cpu")
JOINT = Phase(0, PARTS, RCNNSolver(), 1.0)
FEW = replace(TINY.model.proposals, post_nms_train=12)
"""Fewer proposals than there are places for samples of them."""
CONVENTIONS: tuple[Convention, ...] = ("torchvision", "detectron2")


class Calls(TorchDispatchMode):
    """Counts the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


def losses_of(model: RCNN, batch: Batch) -> dict[str, Tensor]:
    return Losses(model, TrainingRuntime(CPU))(batch, 3, JOINT)


def gradients_of(model: RCNN, batch: Batch) -> list[Tensor]:
    model.zero_grad()
    torch.stack(list(losses_of(model, batch).values())).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def calls_of(function: Callable[[], object]) -> Counter[str]:
    with Calls() as calls:
        function()
    return calls.found


def test_kr_13_calls_do_not_grow_with_images_and_objects() -> None:
    """Forward and backward: no loop over images, objects, proposals or regions anywhere."""
    model = make_model("detectron2").train()
    losses_of(model, make_batch((1, 1)))  # leaves anchors in their cache
    for runs in ((), (0,)):
        few, more, many = (
            calls_of(lambda batch=batch: gradients_of(model, batch))
            for batch in (make_batch(objects, runs=runs) for objects in ((2, 1), (3, 1, 2), (9, 0, 4, 7)))
        )
        assert few == more == many
        assert few["ldie_ext.match_boxes.default"] == 2
        assert few["ldie_ext.roi_align.default"] == 3


def test_kr_13_calls_do_not_grow_in_inference() -> None:
    model = make_model("torchvision")
    sizes = torch.tensor([[64, 96]])
    with torch.no_grad():
        _, few, many = (calls_of(lambda n=n: model(torch.rand(n, 3, 64, 96), sizes.repeat(n, 1))) for n in (2, 2, 5))
    assert few == many


@pytest.mark.parametrize("normalization", ["none", "group"])
@pytest.mark.parametrize("objects", [(3, 0, 5), (0, 0)])
def test_losses_and_gradients_with_a_fixed_number_of_regions(
    objects: Sequence[int], normalization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU regions that are not in use go through the heads, too, and change nothing."""
    head = BoxHeadConfig(channel=32, convs=1, samples=40, normalization=normalization)  # type: ignore[arg-type]
    model, batch = make_model(box_head=head, proposals=FEW).double().train(), make_batch(objects)
    exact, of_exact = losses_of(model, batch), gradients_of(model, batch)
    monkeypatch.setattr("ldie.systems.rcnn.regions._may_wait", lambda values: False)
    fixed, of_fixed = losses_of(model, batch), gradients_of(model, batch)
    torch.testing.assert_close(fixed, exact)
    torch.testing.assert_close(of_fixed, of_exact)


def test_batch_norm_in_heads_sees_regions_in_use_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its statistics would be those of what fills up the batch."""
    head = BoxHeadConfig(channel=32, convs=1, samples=40, normalization="batch")
    batch = make_batch((2, 0))
    results = []
    for may_wait in (True, False):
        torch.manual_seed(5)
        model = make_model(box_head=head, proposals=FEW).train()
        monkeypatch.setattr("ldie.systems.rcnn.regions._may_wait", lambda values, may_wait=may_wait: may_wait)
        losses = losses_of(model, batch)
        results.append((losses, dict(model.named_buffers())))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("objects", [(0,), (0, 0), (1, 0)])
def test_kr_17_images_without_objects_train(objects: Sequence[int], convention: Convention) -> None:
    model, batch = make_model(convention).train(), make_batch(objects)
    losses, gradients = losses_of(model, batch), gradients_of(model, batch)
    assert all(bool(values.isfinite().all()) for values in (*losses.values(), *gradients))
    if not any(objects):
        assert [losses[name].item() for name in ("rpn_loc_loss", "loc_loss", "mask_loss", "keypoint_loss")] == [0] * 4
    assert losses["cls_loss"].item() > 0


def test_kr_17_no_proposals_at_all() -> None:
    """Scores that are NaN, as of weights that have overflown, choose no anchor: nothing crashes."""
    model = make_model().train()
    with torch.no_grad():
        model.proposal_generator.rpn_head.objectness_logits.bias.fill_(float("nan"))
    losses = losses_of(model, make_batch((0, 0)))
    assert losses["rpn_cls_loss"].isnan()
    assert losses["cls_loss"].item() == 0
    found, masks, keypoints = model.eval()(torch.rand(2, 3, 64, 64), torch.full((2, 2), 64))
    assert found.offsets.tolist() == [0, 0, 0]
    assert masks is not None and keypoints is not None and (len(masks), len(keypoints)) == (0, 0)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_losses_under_autocast_are_float32_and_near(convention: Convention) -> None:
    model, batch = make_model(convention).train(), make_batch((3, 0, 5))
    wide = losses_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = losses_of(model, batch)
    assert {value.dtype for value in narrow.values()} == {torch.float32}
    for name in ("rpn_cls_loss", "rpn_loc_loss"):  # the others are of other proposals, maybe
        torch.testing.assert_close(narrow[name], wide[name], rtol=0.05, atol=0.01)
    torch.stack(list(narrow.values())).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_kr_18_proposals_are_constants() -> None:
    """No gradient of the second stage's losses reaches the scores and offsets of anchors."""
    model, batch = make_model().train(), make_batch((3, 2))
    losses = losses_of(model, batch)
    head = list(model.proposal_generator.parameters())
    second = torch.stack([losses[name] for name in ("cls_loss", "loc_loss", "mask_loss", "keypoint_loss")]).sum()
    assert all(g is None for g in torch.autograd.grad(second, head, retain_graph=True, allow_unused=True))
    first = losses["rpn_cls_loss"] + losses["rpn_loc_loss"]
    assert all(g is not None for g in torch.autograd.grad(first, head))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_kr_15_memory_of_2000_regions(convention: Convention) -> None:
    """Pooled features, their gradient and the maps' gradients, and 5 % for all else; 2 images, 3 levels."""
    model = make_model(convention)
    sides = [80, 40, 20]
    maps = [torch.randn(2, 64, side, side, requires_grad=True) for side in sides]
    corner, extent = torch.rand(2000, 2) * 200, torch.rand(2000, 2).pow(3) * 250 + 2
    boxes, offsets = torch.cat([corner, corner + extent], 1), torch.tensor([0, 1000, 2000])

    def step() -> None:
        model.pool([*maps, maps[-1]], boxes, offsets, 7).sum().backward()

    step()
    for level in maps:
        level.grad = None
    output = 2000 * 64 * 49 * 4
    assert peak_bytes(step) <= 1.05 * (2 * output + sum(level.nbytes for level in maps))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_kr_14_regions_are_pooled_from_the_level_of_their_size(convention: Convention) -> None:
    """k = 4 + log2(side / canonical) rounded down, between the finest and the coarsest that heads see."""
    model = make_model(convention, canonical_scale=112.0)
    strides = [4, 8, 16]
    maps = [torch.randn(2, 5, 128 // stride, 192 // stride) for stride in (*strides, 32)]
    sides = torch.tensor([3.0, 20, 27.9, 28, 50, 55.9, 56, 80, 111, 112, 150, 240])
    corner = torch.rand(len(sides), 2) * 20
    boxes, image = torch.cat([corner, corner + sides[:, None]], 1), torch.arange(len(sides)) >= 6
    pooled = model.pool(maps, boxes, torch.tensor([0, 6, len(sides)]), 4)
    for row, side in enumerate((boxes[:, 2] - boxes[:, 0]).tolist()):
        level = 0 if side < 56 else 1 if side < 112 else 2  # also from 224 on: there is no coarser one
        region = torch.cat([image[row : row + 1].float(), boxes[row]])[None]
        alone = ldie_ext.roi_align(maps[level], region, 4, 1 / strides[level], 2, convention == "detectron2")
        torch.testing.assert_close(pooled[row : row + 1], alone)


@pytest.mark.parametrize("ratio", [0, 1, 2, 3, None])
def test_kr_22_sampling_ratio_is_a_key(ratio: int | None) -> None:
    """Null is the convention's: 2 of torchvision, as many as there are cells of detectron2."""
    maps, boxes = [torch.randn(1, 3, 16, 16)] * 4, torch.tensor([[3.0, 5.0, 40.0, 33.0]])
    for convention, own in (("torchvision", 2), ("detectron2", 0)):
        model = make_model(convention, sampling_ratio=ratio)  # type: ignore[arg-type]
        wanted = ldie_ext.roi_align(
            maps[0], [boxes], 7, 0.25, own if ratio is None else ratio, convention == "detectron2"
        )
        torch.testing.assert_close(model.pool(maps, boxes, torch.tensor([0, 1]), 7), wanted)


def test_forward_exports_for_all_sizes() -> None:
    """One graph for any number of images, of any size, and of objects, none among them."""
    model = make_model("torchvision")  # whose strides depend on the images' size
    images, sizes = torch.rand(2, 3, 64, 96), torch.tensor([[64, 96], [50, 70]])
    sides = {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}
    with torch.no_grad():
        graph = torch.export.export(
            model, (images, sizes), dynamic_shapes=(sides, {0: Dim.AUTO}), strict=False
        ).module()
        for count, (height, width) in ((2, (64, 96)), (3, (96, 64)), (2, (128, 160))):
            images, sizes = torch.rand(count, 3, height, width), torch.tensor([[height, width]]).repeat(count, 1)
            expected = model(images, sizes)
            assert expected[0].offsets[-1] > 0
            torch.testing.assert_close(graph(images, sizes), expected)
        empty = graph(torch.full((2, 3, 64, 96), float("nan")), torch.tensor([[64, 96]] * 2))
    assert empty[0].offsets.tolist() == [0, 0, 0]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_kr_24_results_are_xywh_and_come_back(convention: Convention, tmp_path: Path) -> None:
    """Boxes in COCO's results are corner and size, in pixels of the file, not of the network's input."""
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((50, 80), (90, 60))]
    with torch.no_grad():
        predictions = dict(zip((17, 4), make_model(convention).predict(images)))
    assert all(len(prediction.boxes) > 3 for prediction in predictions.values())
    write_records(tmp_path / "results.json", coco_detections(predictions, [5, 1, 90]))
    records = json.loads((tmp_path / "results.json").read_text())
    assert [record["image_id"] for record in records] == [i for i, one in predictions.items() for _ in one.boxes]
    for image_id, prediction in predictions.items():
        own = [record for record in records if record["image_id"] == image_id]
        x, y, width, height = torch.tensor([record["bbox"] for record in own]).unbind(1)
        torch.testing.assert_close(torch.stack([x, y, x + width, y + height], 1), prediction.boxes)
        assert [record["category_id"] for record in own] == [[5, 1, 90][label] for label in prediction.labels]
        torch.testing.assert_close(torch.tensor([record["score"] for record in own]), prediction.scores)
        keypoints = torch.tensor([record["keypoints"] for record in own]).unflatten(1, (-1, 3))
        torch.testing.assert_close(keypoints, prediction.keypoints)
        rows, columns = prediction.size
        assert bool((prediction.boxes >= 0).all()) and float(prediction.boxes[:, 2].max()) <= columns + 1e-3
        assert {tuple(record["segmentation"]["size"]) for record in own} == {(rows, columns)}
        assert isinstance(prediction.masks, ldie_ext.RLE)
        pixels = ldie_ext.rle_decode(prediction.masks, size=prediction.size)
        decoded = ldie_ext.coco.mask.decode([record["segmentation"] for record in own])
        assert torch.equal(torch.as_tensor(decoded).permute(2, 0, 1).bool(), pixels.bool())
