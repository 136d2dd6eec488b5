# SPDX-License-Identifier: Apache-2.0
"""detectron2's conventions: the same weights find what a transcription of its inference finds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from ldie.config import merge
from ldie.systems.rcnn import RCNN, SYSTEM
from ldie.tasks.detection.coco_classes import coco_facts, coco_person_facts
from ldie.tasks.detection.whole_images import InputConfig, evaluation_size
from reference import detectron2
from systems.rcnn.agreement import Expected, assert_agree
from systems.rcnn.sure import make_sure, observe, settle
from torch import Tensor, nn
from torch.nn import functional

EDGE, LONGEST = 160, 250
NARROW = {
    "model": {
        "backbone": {"stem_channel": 8, "widths": [16, 16, 24, 32], "pyramid_channel": 8},
        "box_head": {"channel": 32},
        "mask_head": {"channel": 8},
        "keypoint_head": {"channel": 16},
    },
    "input": {"shorter_side": EDGE, "longest": LONGEST},
}
FACTS = {"mask_r50_detectron2": coco_facts(), "keypoint_r50_detectron2": coco_person_facts()}
_LAST = {
    "mask_r50_detectron2": "roi_heads.mask_head.predictor",
    "keypoint_r50_detectron2": "roi_heads.keypoint_head.score_lowres",
}
_CLASSES = "roi_heads.box_predictor.cls_score"
_DEVIATIONS = {
    **{f"backbone.fpn_output{level}": 1.0 for level in range(2, 6)},
    "proposal_generator.rpn_head.objectness_logits": 2.0,
    "proposal_generator.rpn_head.anchor_deltas": 0.2,
    "roi_heads.box_head.fc1": 1.0,
    "roi_heads.box_head.fc2": 1.0,
    "roi_heads.box_predictor.bbox_pred": 1.0,
}


def pictures() -> list[Tensor]:
    """Patches of colour: a wide image, a high one, and one larger than networks get to see."""
    generator = torch.Generator().manual_seed(0)

    def picture(height: int, width: int) -> Tensor:
        noise = torch.rand(1, 3, 9, 9, generator=generator)
        large = functional.interpolate(noise, size=(height, width), mode="bicubic")[0]
        return (large * 255).clamp(0, 255).round().byte()

    return [picture(120, 170), picture(150, 101), picture(260, 420)]


def build(preset: str, images: Sequence[Tensor]) -> RCNN:
    """The preset's networks, as deep as published and much narrower."""
    torch.manual_seed(0)
    model = RCNN.from_config(merge(SYSTEM.preset(preset), NARROW), FACTS[preset]).eval()
    for name, value in model.state_dict().items():
        if name.endswith("conv3.norm.weight"):
            value.uniform_(0.1, 0.2)  # blocks add little, as trained ones do; random ones magnify every rounding
        elif name.endswith(("norm.weight", "running_var")):
            value.uniform_(0.5, 1.5)
        elif name.endswith(("norm.bias", "running_mean")):
            value.normal_(0, 0.2)

    @torch.no_grad()
    def run() -> None:
        for image in images:
            model.predict([image])

    settle(model, _DEVIATIONS, run)
    vectors = [call.inputs[0] for call in observe(model, [_CLASSES], run)[_CLASSES]]
    layer = model.get_submodule(_CLASSES)
    assert isinstance(layer, nn.Linear)
    make_sure(layer, vectors, 60, background=len(layer.bias) - 1)
    settle(model, {_LAST[preset]: 2.0}, run)
    return model


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    return pictures()


@pytest.fixture(scope="module", params=FACTS)
def model(request: pytest.FixtureRequest, images: list[Tensor]) -> RCNN:
    with torch.random.fork_rng(devices=[]):
        return build(request.param, images)


@torch.no_grad()
def test_the_same_objects(model: RCNN, images: list[Tensor]) -> None:
    """Alone and as a batch: what one is filled up with changes nothing."""
    weights = model.state_dict()
    assert model.config.model.backbone.stride_in_1x1
    together = model.predict(images)
    for image, in_batch in zip(images, together):
        there = detectron2.infer(image, weights, EDGE, LONGEST)
        assert len(there.boxes) >= 20
        keypoints = None if there.keypoints is None else there.keypoints - torch.tensor([0.5, 0.5, 0.0])
        expected = Expected(there.boxes, there.scores, there.classes, there.masks, keypoints)
        (alone,) = model.predict([image])
        assert_agree(alone, expected)
        assert_agree(in_batch, expected)


def test_images_are_scaled_as_detectron2_scales_them() -> None:
    config = InputConfig()
    sizes = torch.randint(1, 2500, (20000, 2), generator=torch.Generator().manual_seed(0)).tolist()
    for height, width in [*sizes, (480, 640), (700, 700), (1200, 5331)]:
        expected = detectron2.shortest_edge(height, width, config.shorter_side, config.longest)
        assert evaluation_size((height, width), config, "detectron2") == tuple(max(1, side) for side in expected)
