# SPDX-License-Identifier: Apache-2.0
"""Weights that a mask pyramid starts from: what is loaded of them, and the list of what is not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ldie.config import merge
from ldie.engine.runtime import TrainingRuntime
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramid, MaskPyramidConfig, MaskPyramidRecipe
from ldie.systems.rcnn import SYSTEM as RCNN
from ldie.tasks.detection.coco_classes import coco_facts, numbered_facts
from ldie.weights.names import NameTable
from ldie.weights.rcnn import DETECTRON2_RESNET, TORCHVISION_RESNET
from safetensors.torch import save_file
from systems.solo.published_files import KEYS, imported, small_file
from torch import Tensor

BACKBONE = "backbone.bottom_up."
SECTIONS: dict[str, Any] = {
    "model": {"backbone": KEYS, "mask": {"state_channel": 8}, "score": {"hidden": 16}},
    "solver": {"max_iter": 1, "lr_decay": [], "save_step": 0},
}
"""As narrow as the files; the depth is that of ResNet-50."""


def make_model(classes: int = 3, **sections: Any) -> MaskPyramid:
    torch.manual_seed(1)
    config = merge(merge(SYSTEM.preset("r50_1x"), SECTIONS), sections)
    assert isinstance(config, MaskPyramidConfig)
    return MaskPyramid.from_config(config, coco_facts() if classes == 80 else numbered_facts(classes))


def copies(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def start(model: MaskPyramid, weights: dict[str, Tensor], path: Path) -> None:
    """As a run starts whose ``solver.pretrained`` is a file of these weights."""
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    else:
        torch.save(weights, path)
    config = replace(model.config, solver=replace(model.config.solver, pretrained=str(path)))
    MaskPyramidRecipe(model, config, TrainingRuntime(torch.device("cpu"))).load_pretrained()


def check(
    model: MaskPyramid, before: dict[str, Tensor], given: dict[str, Tensor], loaded: str | tuple[str, ...]
) -> None:
    """What begins in this way is the file's, all else as it was."""
    for name, value in model.state_dict().items():
        assert torch.equal(value, (given if name.startswith(loaded) else before)[name]), name


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("ldie"), "propagate", True)  # a command may have switched it off
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize("names", [TORCHVISION_RESNET, DETECTRON2_RESNET], ids=["torchvision", "detectron2"])
def test_a_residual_network_alone(names: NameTable, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    given = copies(make_model(80))
    weights, unknown = names.inverse().rename_all({n: v + 1 for n, v in given.items() if n.startswith(BACKBONE)})
    assert unknown == []
    model = make_model()
    before = copies(model)
    start(model, weights | {"fc.weight": torch.ones(2, 2)}, tmp_path / "r50.pth")
    check(model, before, {name: value + 1 for name, value in given.items()}, BACKBONE)
    assert "weights loaded: backbone.bottom_up.*\n" in log.text
    assert "weights start afresh: grown, backbone.fpn_lateral2.*" in log.text
    assert ", features.*, growth.*, score.*" in log.text


@pytest.mark.parametrize("system", ["rcnn", "solo"])
def test_backbone_and_pyramid_of_another_system(system: str, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """What only the other one has is named, too."""
    if system == "rcnn":
        rcnn = RCNN.preset("mask_r50")
        backbone = replace(rcnn.model.backbone, **KEYS)
        given = copies(
            RCNN.model.from_config(replace(rcnn, model=replace(rcnn.model, backbone=backbone)), coco_facts())
        )
    else:
        given = copies(imported(small_file()))
    model = make_model()
    before = copies(model)
    start(model, given, tmp_path / "other.safetensors")
    check(model, before, given, "backbone")
    assert "weights loaded: backbone.*\n" in log.text
    assert "weights start afresh: grown, features.*, growth.*, score.*\n" in log.text
    left = {"rcnn": "proposal_generator", "solo": "head.cls_convs"}[system]
    assert "others are not used: " in log.text and left in log.text


def test_another_number_of_classes_and_of_levels(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Layers of the levels that both have are kept in the order from the coarsest; how many grow is this run's."""
    given = copies(make_model(80))
    model = make_model(model={"last_stride": 16}, solver={"stage": {"levels": 2}})
    before = copies(model)
    start(model, given, tmp_path / "own.safetensors")
    fresh = ("growth.guides", "score.classes", "grown")
    check(model, before, given, tuple(name for name in before if not name.startswith(fresh)))
    assert model.levels == int(model.grown) == 2
    assert (
        "weights start afresh: growth.guides.*, score.classes.* (other shapes: growth.guides.0.weight [80, " in log.text
    )
    assert "others are not used: " in log.text and "growth.masks.features.4.weight" in log.text
