# SPDX-License-Identifier: Apache-2.0
"""torchvision's Mask and Keypoint R-CNN, imported from files as it publishes them, find the same objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import ldie
import pytest
import torch
from ldie.cli import main
from ldie.inference import Predictor
from ldie.tasks.detection import Prediction
from ldie.tasks.detection.coco_classes import COCO_CATEGORY_IDS, COCO_CLASSES
from ldie.tasks.detection.whole_images import InputConfig, evaluation_image, evaluation_size
from systems.rcnn import torchvision_peers as peers
from systems.rcnn.agreement import Expected, assert_agree
from torch import Tensor, nn

pytest.importorskip("torchvision")

SIZES = {"small": (256, 448), "published": (800, 1333)}


class Setting(NamedTuple):
    name: str
    peer: nn.Module
    expected: list[dict[str, Tensor]]
    images: list[Tensor]
    sides: tuple[int, int]

    def imported(self, folder: Path, *, older: bool = False) -> Predictor:
        """What ``ldie import`` makes of the peer's weights."""
        file, out = folder / f"{self.name}-0123abcd.pth", folder / "imported.safetensors"
        torch.save(peers.published(self.peer, older=older), file)
        assert main(["import", "rcnn", str(file), "--preset", peers.PRESETS[self.name], "--out", str(out)]) == 0
        predictor = ldie.load(out)
        config = predictor.model.config
        predictor.model.config = replace(
            config, input=replace(config.input, shorter_side=self.sides[0], longest=self.sides[1])
        )
        return predictor


@pytest.fixture(scope="module", params=["small", pytest.param("published", marks=pytest.mark.slow)])
def sides(request: pytest.FixtureRequest) -> tuple[int, int]:
    return SIZES[request.param]


@pytest.fixture(scope="module", params=[peers.MASK, peers.MASK_V2, peers.KEYPOINT])
def setting(request: pytest.FixtureRequest, sides: tuple[int, int], photographs: Path) -> Setting:
    images = peers.photographs(photographs)
    least = 120 if request.param == peers.MASK else 40  # few: each pair near the limit of suppression is a risk
    with torch.random.fork_rng(devices=[]):
        peer = peers.build(request.param, images, least, min_size=sides[0], max_size=sides[1])
    expected = peers.detect(peer, images)
    assert all(len(objects["boxes"]) >= 20 for objects in expected)
    return Setting(request.param, peer, expected, images, sides)


def as_ours(objects: dict[str, Tensor]) -> Expected:
    """Its labels are COCO's category ids, or 1 for a person; its masks are probabilities."""
    labels = torch.tensor([COCO_CATEGORY_IDS.index(id) for id in objects["labels"].tolist()])
    keypoints = None
    if "keypoints" in objects:
        keypoints = torch.cat([objects["keypoints"][..., :2], objects["keypoints_scores"][..., None]], 2)
    masks = objects["masks"][:, 0] > 0.5 if "masks" in objects else None
    return Expected(objects["boxes"], objects["scores"], labels, masks, keypoints)


def test_the_same_objects(setting: Setting, tmp_path: Path) -> None:
    """Each image by itself, and named and numbered as COCO has it."""
    predictor = setting.imported(tmp_path)
    for image, objects in zip(setting.images, setting.expected):
        (found,) = predictor([image])
        assert_agree(found, as_ours(objects))
        by_number = dict(zip(COCO_CATEGORY_IDS, COCO_CLASSES))
        records = found.to_coco(image_id=7)
        assert [record["category_id"] for record in records] == [COCO_CATEGORY_IDS[k] for k in found.labels]
        assert [by_number[record["category_id"]] for record in records] == found.names


def test_the_same_objects_from_older_names_and_images_together(setting: Setting, tmp_path: Path) -> None:
    """As the files of version 1 have them. What a batch is filled up with changes nothing: each image is as alone."""
    if setting.name == peers.MASK_V2:
        pytest.skip("was never published by older names")
    file = peers.published(setting.peer, older=True)
    setting.peer.load_state_dict(file)  # they are its names
    predictor = setting.imported(tmp_path, older=True)
    found: list[Prediction] = predictor(setting.images, batch_size=3)
    for prediction, objects in zip(found, setting.expected):
        assert_agree(prediction, as_ours(objects))


def test_images_are_scaled_as_torchvision_scales_them() -> None:
    """480 x 640 becomes 800 x 1066: a factor in single precision would make 799 of 800."""
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    config = InputConfig()
    transform = GeneralizedRCNNTransform(config.shorter_side, config.longest, config.mean, config.std).eval()
    assert evaluation_size((480, 640), config, "torchvision") == (800, 1066)
    sizes = torch.randint(2, 1500, (100, 2), generator=torch.Generator().manual_seed(0)).tolist()
    for height, width in sizes:
        expected, _ = transform.resize(torch.zeros(1, 1, 1).expand(1, height, width))
        assert evaluation_size((height, width), config, "torchvision") == expected.shape[1:]
    for size in [(480, 640), (70, 50), (800, 900), (1500, 1400)]:
        image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        expected, _ = transform.resize(transform.normalize(image / 255))
        torch.testing.assert_close(evaluation_image(image, config, "torchvision"), expected, rtol=0, atol=2e-6)
