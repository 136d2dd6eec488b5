"""Weights that SOLO starts from: in whose names they may be, what is loaded, and the list of what is not."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from ldie.engine.runtime import TrainingRuntime
from ldie.errors import CheckpointError, ConfigError
from ldie.nn.pretrained import load_pretrained
from ldie.nn.spellings import SPELLINGS
from ldie.systems.rcnn import SYSTEM as RCNN
from ldie.systems.solo.model import SOLO
from ldie.systems.solo.recipe import SOLORecipe
from ldie.tasks.detection.coco_classes import coco_facts, numbered_facts
from ldie.weights.names import NameTable
from ldie.weights.rcnn import CAFFE2_RESNET, DETECTRON2_RESNET, TORCHVISION, TORCHVISION_RESNET
from safetensors.torch import save_file
from systems.solo.published_files import KEYS, SMALL, authors_file, imported, saved, small_file
from torch import Tensor

BACKBONE = "backbone.bottom_up."


def make_model(classes: int = 3, preset: str = "r50_1x") -> SOLO:
    torch.manual_seed(0)
    facts = coco_facts() if classes == 80 else numbered_facts(classes)
    return SOLO.from_config(SMALL.preset(preset), facts)


def copies(model: SOLO) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@cache
def own_weights() -> dict[str, Tensor]:
    """The narrow file under our names."""
    return {name: value.contiguous() for name, value in imported(small_file()).state_dict().items()}


def backbone_in(names: NameTable, without: str = "-") -> dict[str, Tensor]:
    """Its residual network alone under other names."""
    given = {n: v for n, v in own_weights().items() if n.startswith(BACKBONE) and without not in n}
    renamed, unknown = names.inverse().rename_all(given)
    assert unknown == []
    return renamed


def messages(log) -> list[str]:
    return [record.getMessage() for record in log.records]


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ldie"), "propagate", True)  # a command may have switched it off
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize("kind", ["mmengine", "authors", "ours"])
def test_transfer_to_another_number_of_classes(kind, tmp_path, log):
    given = own_weights()
    if kind == "ours":
        path = tmp_path / "x.safetensors"
        save_file(given, path)
    else:
        path = saved(tmp_path / "w.pth", authors_file(small_file()) if kind == "authors" else small_file(), kind)
    model = make_model()
    before = copies(model)
    load_pretrained(model, path, SPELLINGS)
    fresh = {"head.conv_cls.weight", "head.conv_cls.bias"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] if name in fresh else given[name]), name
    loaded, afresh = messages(log)
    assert f"{path}: 333 of 335 weights loaded: backbone.*, head.mask_convs.*, head.cls_convs.*" in loaded
    assert "head.conv_mask_list.*" in loaded and "conv_cls" not in loaded
    assert "2 of 335 weights start afresh: head.conv_cls.* (other shapes: head.conv_cls.weight [80, " in afresh


def test_grids_and_last_layers_that_do_not_fit_start_afresh(tmp_path, log):
    """The seed's head has a last layer of categories for each level, and backbone and branches are the same."""
    model = make_model(80, "seed_v3_1x")
    before, given = copies(model), own_weights()
    load_pretrained(model, saved(tmp_path / "w.pth", small_file(), "mmdetection"), SPELLINGS)
    for name, value in model.state_dict().items():
        fresh = name.startswith(("head.conv_cls", "levels."))
        assert torch.equal(value, before[name] if fresh else given[name]), name
    assert "12 of 345 weights start afresh: levels.*, head.conv_cls.*" in log.text
    assert "2 others are not used: head.conv_cls.weight, head.conv_cls.bias" in log.text


def test_all_of_it_where_the_classes_are_as_many(tmp_path, log):
    model = make_model(80)
    load_pretrained(model, saved(tmp_path / "w.pth", small_file(), "mmdetection"), SPELLINGS)
    assert all(torch.equal(value, own_weights()[name]) for name, value in model.state_dict().items())
    (line,) = messages(log)
    assert "335 of 335 weights loaded: backbone.*, head.*" in line


@pytest.mark.parametrize(
    ("names", "classes"),
    [(TORCHVISION_RESNET, "fc"), (DETECTRON2_RESNET, "stem.fc")],
    ids=["torchvision", "detectron2"],
)
def test_a_residual_network_alone(names, classes, tmp_path, log):
    weights = backbone_in(names) | {f"{classes}.weight": torch.ones(10, 32)}
    model = make_model()
    before, given = copies(model), own_weights()
    load_pretrained(model, saved(tmp_path / "w.pth", weights, "mmdetection"), SPELLINGS)
    for name, value in model.state_dict().items():
        assert torch.equal(value, (given if name.startswith(BACKBONE) else before)[name]), name
    assert "265 of 335 weights loaded: backbone.bottom_up.*" in log.text
    assert "70 of 335 weights start afresh: backbone.fpn_lateral2.*" in log.text and "not used" not in log.text


def test_caffe_s_residual_network_for_the_seed_s_presets(tmp_path, log):
    """Its norms are a factor and a summand: their statistics become those of a norm that does nothing else."""
    weights = backbone_in(CAFFE2_RESNET, without="running")
    others = {"fc1000_w": torch.ones(2, 2), "conv1_b": torch.zeros(8), "res2_0_branch2a_w_momentum": torch.ones(3)}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({name: value.numpy() for name, value in (weights | others).items()}, 2))
    model = make_model(preset="seed_match_1x")
    given = own_weights()
    load_pretrained(model, path, SPELLINGS)
    for name, value in model.backbone.bottom_up.state_dict().items():
        constant = {"running_mean": 0.0, "running_var": 1.0}.get(name.rpartition(".")[2])
        assert torch.equal(value, given[BACKBONE + name] if constant is None else torch.full_like(value, constant))
    assert "265 of 343 weights loaded: backbone.bottom_up.*" in log.text and "not used" not in log.text


@pytest.mark.parametrize("kind", ["ours, detectron2", "torchvision", "mmdetection"])
def test_backbone_and_pyramid_of_another_system(kind, tmp_path, log):
    """Of a Mask R-CNN, in the names of each."""
    rcnn = RCNN.preset("mask_r50")
    backbone = replace(rcnn.model.backbone, **KEYS)
    given = copies(RCNN.model.from_config(replace(rcnn, model=replace(rcnn.model, backbone=backbone)), coco_facts()))
    weights = given if kind.startswith("ours") else TORCHVISION.inverse().rename_all(given)[0]
    if kind == "mmdetection":
        weights = {n: v for n, v in small_file().items() if not n.startswith("mask_head")}
        weights["roi_head.bbox_head.fc_cls.weight"] = torch.ones(81, 2)
        given = own_weights()
    model = make_model()
    before = copies(model)
    load_pretrained(model, saved(tmp_path / "w.pth", weights, "mmdetection"), SPELLINGS)
    for name, value in model.state_dict().items():
        assert torch.equal(value, (given if name.startswith("backbone") else before)[name]), name
    assert "281 of 335 weights loaded: backbone.*" in log.text
    assert "54 of 335 weights start afresh: head.*" in log.text and "others are not used: " in log.text


def test_only_some_parts(tmp_path, log):
    model = make_model(80)
    before, given = copies(model), own_weights()
    parts = ("backbone.bottom_up", "head.mask_convs")
    load_pretrained(model, saved(tmp_path / "w.pth", small_file(), "mmdetection"), SPELLINGS, parts)
    for name, value in model.state_dict().items():
        assert torch.equal(value, (given if name.startswith(parts) else before)[name]), name
    assert "286 of 335 weights loaded: backbone.bottom_up.*, head.mask_convs.*" in log.text


def test_what_cannot_be_loaded_is_said(tmp_path):
    model = make_model()
    before = copies(model)
    path = saved(tmp_path / "w.pth", {"fc.weight": torch.ones(2)}, "mmdetection")
    with pytest.raises(CheckpointError, match=r"w\.pth: none of its 1 weights fits"):
        load_pretrained(model, path, SPELLINGS)
    saved(path, backbone_in(TORCHVISION_RESNET), "mmdetection")
    with pytest.raises(CheckpointError, match=r"w\.pth: has none of solver\.pretrained_parts \(head\)"):
        load_pretrained(model, path, SPELLINGS, ["head"])
    with pytest.raises(ConfigError, match=r"no weight's name begins with 'neck'; use beginnings such as backbone, "):
        load_pretrained(model, path, SPELLINGS, ["neck"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_recipe_loads_them_where_the_configuration_names_some(tmp_path, log):
    path = saved(tmp_path / "w.pth", small_file(), "mmdetection")
    model = make_model(80)
    before, given = copies(model), own_weights()
    solver = replace(model.config.solver, max_iter=1, lr_decay=(), save_step=0)
    for name, parts in (("", ()), (str(path), ("backbone",))):
        config = replace(model.config, solver=replace(solver, pretrained=name, pretrained_parts=parts))
        SOLORecipe(model, config, TrainingRuntime(torch.device("cpu"))).load_pretrained()
        for key, value in model.state_dict().items():
            assert torch.equal(value, (given if name and key.startswith("backbone") else before)[key]), key
    assert Path(log.records[0].pathname).name == "whole_image_recipe.py" and "freeze_at=2" in messages(log)[0]
