"""The networks: the printed names, zero regions, and torchvision's outputs under mapped weights."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch
from ldie.nn.backbone import BackboneConfig, build_backbone
from ldie.systems.rcnn.config import (
    BoxHeadConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    ProposalConfig,
    RCNNModel,
)
from ldie.systems.rcnn.heads import RoIHeads, RPNHead
from ldie.systems.rcnn.proposals import ProposalGenerator
from ldie.weights.names import NameTable
from ldie.weights.rcnn import TORCHVISION, TORCHVISION_V2, background_last
from torch import Tensor, nn
from weights.test_names import KEYPOINT, MASK, MASK_V2, printed

MASK_MODEL = RCNNModel(num_classes=90)
KEYPOINT_MODEL = RCNNModel(
    num_classes=1, mask_head=MaskHeadConfig(enabled=False), keypoint_head=KeypointHeadConfig(enabled=True)
)
V2_MODEL = RCNNModel(
    num_classes=90,
    backbone=BackboneConfig(normalization="batch", pyramid_norm="batch"),
    proposals=ProposalConfig(depth=2),
    box_head=BoxHeadConfig(convs=4, linears=1, normalization="batch"),
    mask_head=MaskHeadConfig(normalization="batch"),
)
MODELS = {KEYPOINT: KEYPOINT_MODEL, MASK: MASK_MODEL, MASK_V2: V2_MODEL}
TINY = RCNNModel(
    num_classes=3,
    num_keypoints=4,
    backbone=BackboneConfig(
        stem="conv3",
        stem_channel=8,
        block="basic",
        blocks=(1, 1, 1),
        widths=(8, 16, 24),
        freeze_at=0,
        pyramid_channel=8,
    ),
    box_head=BoxHeadConfig(convs=1, channel=16),
    mask_head=MaskHeadConfig(convs=1, channel=8),
    keypoint_head=KeypointHeadConfig(enabled=True, convs=1, channel=8),
)


def build(config: RCNNModel) -> nn.ModuleDict:
    """All networks, under the printed names."""
    backbone = build_backbone(config.backbone)
    generator = ProposalGenerator(config)
    return nn.ModuleDict(
        {"backbone": backbone, "proposal_generator": generator, "roi_heads": RoIHeads(backbone.channel, config)}
    )


@pytest.mark.parametrize(("kind", "count"), [(KEYPOINT, 313), (MASK, 307), (MASK_V2, 363)])
def test_the_networks_have_the_printed_names(kind, count):
    with torch.device("meta"):
        networks = build(MODELS[kind])
    names = {name for name in networks.state_dict() if not name.endswith("num_batches_tracked")}
    assert names == printed(kind) and len(names) == count


def test_the_printed_shapes():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in build(KEYPOINT_MODEL).state_dict().items()}
    for name, shape in {
        "backbone.fpn_lateral2.weight": (256, 256, 1, 1),
        "backbone.fpn_output5.bias": (256,),
        "backbone.bottom_up.stem.conv1.weight": (64, 3, 7, 7),
        "backbone.bottom_up.res2.0.conv2.norm.running_var": (64,),
        "backbone.bottom_up.res5.0.shortcut.weight": (2048, 1024, 1, 1),
        "proposal_generator.rpn_head.objectness_logits.weight": (3, 256, 1, 1),
        "proposal_generator.rpn_head.anchor_deltas.weight": (12, 256, 1, 1),
        "roi_heads.box_head.fc1.weight": (1024, 12544),
        "roi_heads.box_predictor.cls_score.weight": (2, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (4, 1024),
        "roi_heads.keypoint_head.conv_fcn1.weight": (512, 256, 3, 3),
        "roi_heads.keypoint_head.score_lowres.weight": (512, 17, 4, 4),
    }.items():
        assert shapes[name] == shape


@pytest.mark.parametrize("normalization", ["none", "batch", "group"])
def test_zero_regions_pass_forward_and_backward(normalization):
    config = replace(
        TINY,
        box_head=replace(TINY.box_head, normalization=normalization),
        mask_head=replace(TINY.mask_head, normalization=normalization),
    )
    heads = RoIHeads(8, config)
    features = [torch.zeros(0, 8, size, size, requires_grad=True) for size in (7, 14)]
    scores, deltas = heads.box_predictor(heads.box_head(features[0]))
    masks, heatmaps = heads.mask_head(features[1]), heads.keypoint_head(features[1])
    assert (scores.shape, deltas.shape) == ((0, 4), (0, 12))
    assert (masks.shape, heatmaps.shape) == ((0, 3, 28, 28), (0, 4, 56, 56))
    sum(part.sum() for part in (scores, deltas, masks, heatmaps)).backward()
    assert all(x.grad is not None and x.grad.shape == x.shape for x in features)
    assert all(p.grad is not None and not p.grad.any() for p in heads.parameters())
    assert all(torch.isfinite(value).all() for value in heads.state_dict().values())


def test_one_box_for_all_classes_and_heads_that_are_left_out():
    config = replace(TINY, box_head=replace(TINY.box_head, class_agnostic=True))
    heads = RoIHeads(8, replace(config, mask_head=MaskHeadConfig(enabled=False), keypoint_head=KeypointHeadConfig()))
    scores, deltas = heads.box_predictor(heads.box_head(torch.rand(2, 8, 7, 7)))
    assert (scores.shape, deltas.shape) == ((2, 4), (2, 4))
    assert heads.mask_head is None and heads.keypoint_head is None
    assert {name.partition(".")[0] for name in heads.state_dict()} == {"box_head", "box_predictor"}


def test_rpn_layout_perfect_offsets_are_found_where_their_anchor_stands():
    """KR-9: channel 4a + k of the offsets is coordinate k of anchor a, whose score is channel a."""
    head = RPNHead(channel=4, anchors=3, depth=2)
    maps = [torch.rand(2, 4, 5, 6), torch.rand(2, 4, 3, 3)]
    with torch.no_grad():
        for part in (head.objectness_logits, head.anchor_deltas):
            part.weight.zero_()
            part.bias.copy_(torch.arange(len(part.bias)))
        logits, deltas = head(maps)
    for level, score, offset in zip(maps, logits, deltas, strict=True):
        assert score.shape == (2, 3, *level.shape[2:])
        cells = offset.unflatten(1, (3, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        assert torch.equal(cells[1, 4], torch.tensor([4.0, 5.0, 6.0, 7.0]))  # cell (0, 1), anchor 1
        assert torch.equal(score.permute(0, 2, 3, 1).flatten(1)[1, :4], torch.tensor([0.0, 1.0, 2.0, 0.0]))


def test_heads_begin_quiet_and_even():
    """As published: small weights where boxes, scores and masks come out, zero biases everywhere."""
    torch.manual_seed(0)
    networks = build(replace(TINY, num_classes=80, box_head=replace(TINY.box_head, channel=256)))
    spreads = {
        "proposal_generator.rpn_head.conv": 0.01,
        "proposal_generator.rpn_head.objectness_logits": 0.01,
        "proposal_generator.rpn_head.anchor_deltas": 0.01,
        "roi_heads.box_predictor.cls_score": 0.01,
        "roi_heads.box_predictor.bbox_pred": 0.001,
        "roi_heads.mask_head.predictor": 0.001,
        "roi_heads.mask_head.mask_fcn1": (2 / (9 * 8)) ** 0.5,
        "backbone.fpn_lateral4": (1 / 24) ** 0.5,  # uniform on +-sqrt(3 / fan_in)
    }
    weights = networks.state_dict()
    for name, spread in spreads.items():
        found = float(weights[f"{name}.weight"].std())
        assert found == pytest.approx(spread, rel=0.35), name
    assert not any(value.any() for name, value in weights.items() if name.endswith("bias"))


def test_what_is_frozen_gets_no_gradients_and_stays_so():
    backbone = build_backbone(replace(TINY.backbone, freeze_at=2, normalization="batch"))
    before = {name: value.clone() for name, value in backbone.bottom_up.state_dict().items()}
    sum(level.sum() for level in backbone.train()(torch.rand(2, 3, 64, 64))).backward()
    for name, parameter in backbone.bottom_up.named_parameters():
        assert (parameter.grad is None) == name.startswith(("stem.", "res2.")), name
    after = backbone.bottom_up.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("res3.", "res4.")) for name in changed)


def mapped(network: nn.Module, table: NameTable) -> dict[str, Tensor]:
    """Random weights for a network of torchvision's, with statistics as trained norms have them, under our names."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight", "downsample.1.weight", ".1.weight")):
            value.uniform_(0.5, 1.0, generator=generator)
        elif value.ndim == 1:
            value.normal_(0, 0.1, generator=generator)
    renamed, unknown = table.rename_all(network.state_dict())
    assert unknown == []
    return background_last(renamed)


@pytest.fixture(scope="module", params=[KEYPOINT, MASK, MASK_V2])
def pair(request) -> tuple[nn.Module, nn.ModuleDict]:
    """Torchvision's model and ours with the same weights."""
    detection: ModuleType = pytest.importorskip("torchvision.models.detection")
    theirs = getattr(detection, request.param)(weights=None, weights_backbone=None).eval()
    table = TORCHVISION_V2 if request.param == MASK_V2 else TORCHVISION
    ours = build(MODELS[request.param]).eval()
    found = ours.load_state_dict(mapped(theirs, table), strict=False)
    assert found.unexpected_keys == [] and all(name.endswith("tracked") for name in found.missing_keys)
    return theirs, ours


@pytest.mark.parity
@torch.no_grad()
def test_backbone_and_proposals_are_torchvision_s(pair):
    theirs, ours = pair
    images = torch.rand(2, 3, 96, 150, generator=torch.Generator().manual_seed(1))
    expected = list(theirs.backbone(images).values())
    maps = ours["backbone"](images)
    assert [level.shape[-2:] for level in maps] == [(24, 38), (12, 19), (6, 10), (3, 5), (2, 3)]
    logits, deltas = ours["proposal_generator"].rpn_head(expected)
    expected_logits, expected_deltas = theirs.rpn.head(expected)
    for found, there in zip(maps + logits + deltas, expected + expected_logits + expected_deltas):
        assert there.std() > 1e-3
        torch.testing.assert_close(found / there.std(), there / there.std(), rtol=1e-5, atol=2e-5)


@pytest.mark.parity
@torch.no_grad()
def test_heads_are_torchvision_s(pair):
    theirs, ours = pair
    heads, reference = ours["roi_heads"], theirs.roi_heads
    generator = torch.Generator().manual_seed(2)
    regions = {size: torch.rand(3, 256, size, size, generator=generator) for size in (7, 14)}
    scores, deltas = heads.box_predictor(heads.box_head(regions[7]))
    expected_scores, expected_deltas = reference.box_predictor(reference.box_head(regions[7]))
    pairs = [(scores, expected_scores.roll(-1, 1)), (deltas, expected_deltas[:, 4:])]
    if heads.mask_head is not None:
        masks = reference.mask_predictor(reference.mask_head(regions[14]))
        pairs.append((heads.mask_head(regions[14]), masks[:, 1:]))
    else:
        pairs.append(
            (heads.keypoint_head(regions[14]), reference.keypoint_predictor(reference.keypoint_head(regions[14])))
        )
    for found, there in pairs:
        torch.testing.assert_close(found / there.std(), there / there.std(), rtol=1e-5, atol=1e-5)
