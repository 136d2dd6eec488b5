"""The blocks of docs/recipes.md run, and give what the code they replace gives.

Lightning and transformers are the real ones, where they are installed. detectron2 and mmdetection are stand-ins: a few
lines with the interface of the public classes that a recipe builds on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import reference.overlaps as overlaps
import torch
from op_checks import random_boxes
from torch import Tensor, nn

import ldie_ext
from ldie_ext.compat import torchvision as compat

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
STRIDES = (4, 8, 16, 32)


def run(title: str) -> dict[str, Any]:
    """The names that the code of one section defines."""
    sections = re.split(r"^## ", RECIPES.read_text(), flags=re.MULTILINE)
    (section,) = (text for text in sections if text.startswith(title))
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, f"{RECIPES.name}, {title}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    yield
    compat.unpatch()


def install(monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    """Puts stand-ins where the recipe imports from; __ in a name is a dot."""
    for name, contents in modules.items():
        module = ModuleType(name.replace("__", "."))
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def pyramid() -> list[Tensor]:
    return [torch.rand(2, 3, 128 // stride, 160 // stride) for stride in STRIDES]


def pool_by_level(features: list[Tensor], rois: Tensor, levels: Tensor, ratio: int) -> Tensor:
    """What poolers of peers do: RoIAlign on each level, put together by the RoIs' places."""
    pooled = torch.zeros(len(rois), 3, 7, 7)
    for level, (feature, stride) in enumerate(zip(features, STRIDES)):
        rows = levels == level
        pooled[rows] = ldie_ext.roi_align(feature, rois[rows], 7, 1 / stride, ratio, True)
    return pooled


def test_torchvision() -> None:
    ops = pytest.importorskip("torchvision").ops
    before = ops.nms
    run("torchvision")
    assert ops.nms is not before


def test_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    detector = run("Lightning")["Detector"](num_classes=3)
    before = [parameter.clone() for parameter in detector.parameters()]
    target = {"boxes": torch.tensor([[8.0, 8.0, 90.0, 70.0]]), "labels": torch.tensor([1])}
    batches = torch.utils.data.DataLoader(
        [(torch.rand(3, 96, 128), target)] * 2, collate_fn=lambda rows: tuple(zip(*rows))
    )
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path
    )
    trainer.fit(detector, batches)
    assert trainer.global_step == 2
    assert any(not torch.equal(old, new) for old, new in zip(before, detector.parameters()))


def test_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    losses = pytest.importorskip("transformers.loss.loss_for_object_detection")
    monkeypatch.setattr(losses, "generalized_box_iou", losses.generalized_box_iou)  # restored after the test
    model = tiny_detr(transformers)
    pixels = torch.rand(2, 3, 64, 64)
    boxes = torch.rand(2, 3, 4) * 0.3 + 0.2
    labels = [{"class_labels": torch.tensor([0, 1, 1]), "boxes": each} for each in boxes]
    expected = model(pixels, labels=labels)
    suppress = run("Hugging Face")["suppress"]
    found = model(pixels, labels=labels)
    torch.testing.assert_close(found.loss_dict, expected.loss_dict, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(found.loss, model.bbox_predictor.layers[-1].bias)
    (before,) = torch.autograd.grad(expected.loss, model.bbox_predictor.layers[-1].bias)
    torch.testing.assert_close(gradient, before, rtol=1e-4, atol=1e-6)
    image = {"scores": torch.tensor([0.6, 0.9]), "labels": torch.zeros(2).long(), "boxes": torch.ones(2, 4).cumsum(1)}
    assert suppress([image])[0]["scores"].tolist() == [pytest.approx(0.9)]


def tiny_detr(transformers: Any) -> nn.Module:
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], out_features=["stage2"])
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, use_pretrained_backbone=False, d_model=16,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, num_queries=6, num_labels=2,
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config).eval()


class Boxes:
    """detectron2.structures.Boxes, as far as the recipe uses it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return len(self.tensor)

    @classmethod
    def cat(cls, each: list[Boxes]) -> Boxes:
        return cls(torch.cat([boxes.tensor for boxes in each]))


class DetectronRPN(nn.Module):
    """detectron2's RPN: the matcher's attributes, and sampling of labels, here of all."""

    def __init__(self) -> None:
        super().__init__()
        thresholds = [-float("inf"), 0.3, 0.7, float("inf")]
        self.anchor_matcher = SimpleNamespace(thresholds=thresholds, allow_low_quality_matches=True)

    def _subsample_labels(self, labels: Tensor) -> Tensor:
        assert labels.dtype == torch.int8
        return labels


@pytest.fixture
def detectron(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    registry = SimpleNamespace(register=lambda: lambda added: added)
    install(
        monkeypatch,
        detectron2={},
        detectron2__structures={"Boxes": Boxes},
        detectron2__modeling={"PROPOSAL_GENERATOR_REGISTRY": registry},
        detectron2__modeling__proposal_generator={"RPN": DetectronRPN},
    )
    return run("detectron2")


def test_detectron2_pooler(detectron: dict[str, Any]) -> None:
    features, boxes = pyramid(), [random_boxes(count, 500, 500) for count in (30, 0)]
    pooler = detectron["FusedROIPooler"](7, [1 / stride for stride in STRIDES], 0)
    pooled = pooler(features, [Boxes(each) for each in boxes])
    sizes = overlaps.area(boxes[0]).sqrt()
    levels = torch.floor(4 + torch.log2(sizes / 224 + 1e-8)).clamp(2, 5) - 2
    rois = torch.cat([torch.zeros(30, 1), boxes[0]], dim=1)
    torch.testing.assert_close(pooled, pool_by_level(features, rois, levels, 0))


def test_detectron2_pooler_is_safe_to_trace(detectron: dict[str, Any]) -> None:
    """Other numbers of boxes than those that were traced."""
    pooler = detectron["FusedROIPooler"](7, [1 / stride for stride in STRIDES], 2)

    def pool(first: Tensor, second: Tensor, *features: Tensor) -> Tensor:
        return pooler(list(features), [Boxes(first), Boxes(second)])

    features = pyramid()
    traced = torch.jit.trace(pool, (random_boxes(9, 500, 500), random_boxes(4, 500, 500), *features), check_trace=False)
    for counts in ((2, 11), (0, 5), (3, 0)):
        regions = [random_boxes(count, 500, 500) for count in counts]
        torch.testing.assert_close(traced(*regions, *features), pool(*regions, *features), rtol=0, atol=0)


def test_detectron2_labels(detectron: dict[str, Any]) -> None:
    anchors, gt_boxes = random_boxes(200, 60, 60), [random_boxes(5, 60, 60), torch.empty(0, 4)]
    instances = [SimpleNamespace(gt_boxes=Boxes(boxes)) for boxes in gt_boxes]
    levels = [Boxes(level) for level in anchors.split(150)]
    labels, matched = detectron["FusedRPN"]().label_and_sample_anchors(levels, instances)
    iou = overlaps.box_iou(gt_boxes[0], anchors)
    best, rows = iou.max(dim=0)
    expected = torch.where(best >= 0.7, 1, torch.where(best >= 0.3, -1, 0)).to(torch.int8)
    expected[(iou == iou.amax(dim=1, keepdim=True)).any(dim=0)] = 1
    assert {0, 1} <= {*expected.tolist()}
    assert torch.equal(labels[0], expected)
    assert torch.equal(matched[0][expected == 1], gt_boxes[0][rows][expected == 1])
    assert not labels[1].any()
    assert matched[1].shape == (200, 4)


class MmdetExtractor(nn.Module):
    """mmdetection's SingleRoIExtractor: the attributes that its constructor sets."""

    def __init__(self) -> None:
        super().__init__()
        self.featmap_strides, self.finest_scale = STRIDES, 56
        self.roi_layers = [SimpleNamespace(output_size=(7, 7), sampling_ratio=0, aligned=True)] * 4


@pytest.fixture
def mmdet(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    registry = SimpleNamespace(register_module=lambda: lambda added: added)
    install(
        monkeypatch,
        mmdet={},
        mmdet__registry={"MODELS": registry, "TASK_UTILS": registry},
        mmdet__models__roi_heads__roi_extractors={"SingleRoIExtractor": MmdetExtractor},
        mmdet__models__task_modules__assigners={"AssignResult": assign_result, "BaseAssigner": object},
    )
    return run("mmdetection")


def assign_result(num_gts: int, gt_inds: Tensor, max_overlaps: Tensor, labels: Tensor) -> SimpleNamespace:
    return SimpleNamespace(num_gts=num_gts, gt_inds=gt_inds, max_overlaps=max_overlaps, labels=labels)


def test_mmdetection_extractor(mmdet: dict[str, Any]) -> None:
    features, boxes = pyramid(), random_boxes(40, 500, 500)
    rois = torch.cat([torch.tensor([0.0] * 15 + [1.0] * 25)[:, None], boxes], dim=1)
    levels = torch.floor(torch.log2(overlaps.area(boxes).sqrt() / 56 + 1e-6)).clamp(0, 3)
    pooled = mmdet["FusedRoIExtractor"]()((*features, features[-1][..., ::2, ::2]), rois)
    torch.testing.assert_close(pooled, pool_by_level(features, rois, levels, 0))


@pytest.mark.parametrize("objects", [6, 0])
def test_mmdetection_assigner(mmdet: dict[str, Any], objects: int) -> None:
    priors, boxes, labels = random_boxes(300, 60, 60), random_boxes(objects, 60, 60), torch.arange(objects) + 10
    assigner = mmdet["FusedIoUAssigner"](0.5, 0.4)
    assigned = assigner.assign(SimpleNamespace(priors=priors), SimpleNamespace(bboxes=boxes, labels=labels))
    iou = torch.cat([torch.zeros(1, 300), overlaps.box_iou(boxes, priors)])
    best, rows = iou.max(dim=0)
    expected = torch.where(best >= 0.5, rows, torch.where(best >= 0.4, -1, 0))
    assert assigned.num_gts == objects
    assert torch.equal(assigned.gt_inds, expected)
    assert torch.equal(assigned.labels, torch.where(expected > 0, expected + 9, -1))
    torch.testing.assert_close(assigned.max_overlaps, best)
