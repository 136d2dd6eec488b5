# SPDX-License-Identifier: Apache-2.0
"""Operators in ONNX's words: the same rows in the same order as the library's, at ties, borders and empty boxes too."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from ldie.errors import ExportError
from ldie.export.exportable import Example, Exportable
from torch import Tensor, nn

import ldie_ext

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


class Operators(nn.Module):
    """All operators that graphs of ours hold, once each or more."""

    def forward(self, scores: Tensor, boxes: Tensor, box_scores: Tensor) -> tuple[Tensor, ...]:
        peaks = ldie_ext.heatmap_peaks(scores, 8)
        more = ldie_ext.heatmap_peaks(scores, 50)  # than there are cells
        kept = [ldie_ext.nms(boxes, box_scores, threshold) for threshold in (0.6, 0.5, 0.0, 2.0)]
        order = box_scores.sort(descending=True, stable=True)
        points = [ldie_ext.points_nms(scores, kernel=kernel) for kernel in (2, 3)]
        return (*peaks, *more, *kept, *order, box_scores.argsort(stable=True), *points)


def saved(graph: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Path:
    from ldie.export.onnx_file import FORMAT

    names = [f"in{i}" for i in range(len(inputs))], [f"out{i}" for i in range(len(graph(*inputs)))]
    FORMAT.convert(Exportable(graph, *map(tuple, names), [Example("", inputs, str)], {}), {})(path)
    return path


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    scores = torch.tensor([[0.1, 0.9, 0.9, 0.3], [0.2, 0.4, 0.1, 0.7], [-math.inf, 0.5, 0.2, 0.7]])
    maps = torch.stack((scores, scores.flip(0), torch.full((3, 4), -math.inf))).view(1, 3, 3, 4)
    boxes = torch.tensor(
        [
            [0.0, 0, 8, 1], [2, 0, 10, 1],  # an IoU of 6 / 10, which in float32 is above 0.6
            [20, 0, 30, 10], [20, 5, 30, 15], [20, 0, 30, 10],  # 1 / 3, and all of it
            [50, 50, 40, 40], [40, 40, 50, 50], [60, 40, 40, 60],  # ends before it begins
            [70, 70, 70, 80], [70, 70, 70, 80],  # empty
        ]
    )  # fmt: skip
    return maps, boxes, torch.tensor([0.5, 0.5, 0.5, 0.9, 0.5, 0.95, 0.3, 0.2, 0.1, 0.1])


def test_onnxruntime_gives_the_same(tmp_path):
    graph, values = Operators(), inputs()
    session = onnxruntime.InferenceSession(saved(graph, values, tmp_path / "operators.onnx"))
    outputs = session.run(None, {f"in{i}": value.numpy() for i, value in enumerate(values)})
    expected = graph(*values)
    assert 1 not in expected[8], "the IoU of the first two boxes, which ONNX compares in float32, is above 0.6"
    for number, (ours, theirs) in enumerate(zip(expected, outputs, strict=True)):
        assert torch.equal(ours, torch.from_numpy(theirs)), number


class MaskOperators(nn.Module):
    """All operators on maps and masks that graphs of ours hold."""

    def forward(self, maps: Tensor, labels: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        masks, rows = maps > 0.5, scores.argsort(stable=True)
        return (
            ldie_ext.composite_masks(maps, (11, 17)),
            ldie_ext.composite_masks(maps, (11, 17), index=rows, between=(12, 20), crop=(10, 19), threshold=0.4),
            ldie_ext.composite_masks(maps, (5, 9), between=(12, 20), align_corners=True),
            ldie_ext.composite_masks(maps, (11, 17), exclusive=True),
            *(ldie_ext.masks_to_boxes(masks, convention=convention) for convention in ("torchvision", "detectron2")),
            *(ldie_ext.matrix_nms(masks, labels, scores, kernel=kernel) for kernel in ("gaussian", "linear")),
        )


def test_masks_are_the_same(tmp_path):
    """Copies and an empty mask among them, equal scores and cells, and minus infinity."""
    maps = torch.rand(9, 6, 8, generator=torch.Generator().manual_seed(3))
    maps[1], maps[2], maps[3] = maps[0], 0.9 * maps[0], 0.1
    maps[4, :, 3], maps[5] = 0.7, -math.inf
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])
    scores = torch.tensor([0.5, 0.5, 0.9, 0.8, 0.4, 0.3, 0.2, 0.2, 0.7])
    graph = MaskOperators()
    session = onnxruntime.InferenceSession(saved(graph, (maps, labels, scores), tmp_path / "masks.onnx"))
    outputs = session.run(None, {"in0": maps.numpy(), "in1": labels.numpy(), "in2": scores.numpy()})
    expected = graph(maps, labels, scores)
    assert (expected[-1] == 0).any() and (expected[-1] < scores).sum() > (expected[-1] == scores).sum() > 1
    for number, (ours, theirs) in enumerate(zip(expected, map(torch.from_numpy, outputs), strict=True)):
        assert ours.any() and ours.dtype == theirs.dtype, number
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6 if number > 5 else 0)


class PyramidOperators(nn.Module):
    """All operators by which a pyramid of masks grows; whole numbers and truths first."""

    def forward(
        self, logits: Tensor, alive: Tensor, sizes: Tensor, scores: Tensor, places: Tensor, radii: Tensor
    ) -> tuple[Tensor, ...]:
        covered = [
            ldie_ext.pyramid_coverage(logits, alive, background=0.0, floor=0.3, sizes=sizes, top_k=2),
            ldie_ext.pyramid_coverage(logits, alive, top_k=1, places=places, step=1.5, sizes=2 * sizes),
            ldie_ext.pyramid_coverage(logits, alive, mode="max", top_k=8, floor=0.6, places=places),
            ldie_ext.pyramid_coverage(logits, alive, mode="max", background=0.5),
        ]
        coverage = covered[0].coverage
        births = [
            ldie_ext.pyramid_spawn(coverage, alive, capacity=9, max_alive=11, threshold=0.5),
            ldie_ext.pyramid_spawn(coverage, alive, capacity=100, max_alive=100, threshold=0.3, min_spawn=6, step=4.0),
            ldie_ext.pyramid_spawn(coverage, alive[:, :0], capacity=4, max_alive=3, threshold=0.5, guide=logits[:, :2]),
        ]
        kept = [ldie_ext.pyramid_cull(alive, scores, capacity) for capacity in (2, 4, 9)]
        maps = [
            ldie_ext.gaussian_maps(places, radii, (5, 7), kind=kind) for kind in ("half", "fwhm", "sigma", "onehot")
        ]
        responses = logits[:, :2, None].expand(-1, -1, 9, -1, -1) * torch.arange(9.0).view(9, 1, 1)
        return (
            *(each.present for each in covered), *(field for each in births for field in each[:2]),
            *(field for each in kept for field in each),
            *(each.coverage for each in covered), covered[1].responses, covered[2].responses,
            *(each.places for each in births), *maps, ldie_ext.gaussian_maps(places, 4.0, (3, 4), step=2.0),
            ldie_ext.gated_conv(logits.nan_to_num().clamp(-1, 1), responses.nan_to_num().clamp(-1, 1)),
        )  # fmt: skip


def test_a_pyramid_grows_alike(tmp_path):
    """Equal logits and coverages, images without hypotheses, centres that are none and all kinds of radii in them."""
    generator = torch.Generator().manual_seed(4)
    logits = 3 * torch.randn(3, 6, 5, 7, generator=generator)
    logits[0, 2] = logits[0, 1]
    logits[1, 1, 2], logits[1, 2, 3], logits[1, 3, 1] = math.inf, -math.inf, math.nan
    logits[2, :, 3] = 1.0
    alive = torch.tensor([[1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0]]).bool()
    sizes = torch.tensor([[5, 7], [4, 6], [0, 7]])
    scores = torch.tensor([[0.5, 0.5, 0.9, 0.8, 0.4, 0.5], [math.nan, -math.inf, 3, 2, 9, 1], [1, 2, 3, 4, 5, 6]])
    places = torch.rand(3, 6, 2, generator=generator) * 9 - 1
    places[0, 0], places[0, 1], places[1, 1, 0], places[1, 2] = 2.5, math.nan, math.inf, 2.0
    radii = torch.rand(3, 6, generator=generator) * 4
    radii[0, 0], radii[1, 0], radii[2, 0], radii[1, 2], radii[1, 1] = 0.0, -1.0, math.nan, math.inf, math.inf
    values = (logits, alive, sizes, scores, places, radii)
    graph = PyramidOperators()
    session = onnxruntime.InferenceSession(saved(graph, values, tmp_path / "pyramid.onnx"))
    outputs = session.run(None, {f"in{i}": value.numpy() for i, value in enumerate(values)})
    expected = graph(*values)
    assert all(ours.any() and (ours == 0).any() for ours in expected[:4]) and (expected[4] == -1).any()
    for number, (ours, theirs) in enumerate(zip(expected, map(torch.from_numpy, outputs), strict=True)):
        assert ours.dtype == theirs.dtype and (ours.is_floating_point() or torch.equal(ours, theirs)), number
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6, equal_nan=True, msg=f"output {number}")


class Negative(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        return (ldie_ext.nms(boxes, scores, -0.5),)


def test_what_has_no_form_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ExportError, match=r"no ONNX form \(nms with a threshold below 0 .*use --format torch.export"):
        saved(Negative(), inputs()[1:], tmp_path / "negative.onnx")


def test_an_operator_that_onnxruntime_lacks_is_named(tmp_path):
    import onnx
    from ldie.export.onnx_file import FORMAT
    from onnx import helper

    numbers = onnx.TensorProto.UINT8
    file, image = (helper.make_tensor_value_info(name, numbers, [None] * rank) for name, rank in (("a", 1), ("b", 3)))
    graph = helper.make_graph([helper.make_node("ImageDecoder", ["a"], ["b"])], "decode", [file], [image])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "decode.onnx")
    with pytest.raises(NotImplementedError, match="ImageDecoder"):
        FORMAT.load(tmp_path / "decode.onnx")
    (tmp_path / "no.onnx").write_text("no model")
    with pytest.raises(ExportError, match="onnxruntime does not take it"):
        FORMAT.load(tmp_path / "no.onnx")
