"""Weights to start from: in whose names they may be, what is loaded, and the list of what is not."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ldie.engine.runtime import TrainingRuntime
from ldie.errors import CheckpointError, ConfigError
from ldie.nn.pretrained import load_pretrained
from ldie.systems.rcnn.model import RCNN
from ldie.systems.rcnn.pretrained import SPELLINGS
from ldie.systems.rcnn.recipe import RCNNRecipe
from ldie.tasks.detection.coco_classes import coco_facts, numbered_facts
from ldie.weights.rcnn import CAFFE2_RESNET, DETECTRON2_RESNET, TORCHVISION_RESNET
from safetensors.torch import save_file
from systems.rcnn.published_files import SMALL, imported, own_weights, respelled, torchvision_file
from torch import Tensor

BACKBONE = "backbone.bottom_up."


def make_model(classes: int = 3) -> RCNN:
    torch.manual_seed(0)
    facts = coco_facts() if classes == 80 else numbered_facts(classes)
    return RCNN.from_config(SMALL.preset("mask_r50_detectron2"), facts)


def saved(folder: Path, weights: dict[str, Tensor]) -> Path:
    torch.save(weights, folder / "w.pth")
    return folder / "w.pth"


def copies(model: RCNN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ldie"), "propagate", True)  # a command may have switched it off
    caplog.set_level(logging.INFO)
    return caplog


def check_transfer(model: RCNN, before: dict[str, Tensor], given: dict[str, Tensor], log) -> None:
    """All but the class outputs are the file's, these are as they were, and the list says so."""
    fresh = {name for name in before if "predictor" in name}
    after = model.state_dict()
    for name, value in after.items():
        assert torch.equal(value, before[name] if name in fresh else given[name]), name
    assert len(fresh) == 6
    loaded, afresh = (record.getMessage() for record in log.records[:2])
    assert "301 of 307 weights loaded: backbone.*, proposal_generator.*, roi_heads.box_head.*" in loaded
    assert "mask_fcn4.*, roi_heads.mask_head.deconv.*" in loaded and "predictor" not in loaded
    assert "6 of 307 weights start afresh: roi_heads.box_predictor.*, roi_heads.mask_head.predictor.*" in afresh
    assert "cls_score.weight [81, 1024] instead of [4, 1024]" in afresh


@pytest.mark.parametrize("spelling", ["detectron2", "torchvision", "torchvision, old", "ours"])
def test_transfer_to_another_number_of_classes(spelling, tmp_path, log):
    given = own_weights("mask_r50_detectron2", 90 if spelling.startswith("torchvision") else 80)
    if spelling.startswith("torchvision"):
        path = saved(tmp_path, torchvision_file("mask_r50", old=spelling.endswith("old")))
    elif spelling == "detectron2":
        path = tmp_path / "model_final.pkl"
        path.write_bytes(pickle.dumps({"model": {name: value.numpy() for name, value in given.items()}}, 2))
    else:
        path = tmp_path / "x.safetensors"
        save_file(given, path)
    model = make_model()
    before = copies(model)
    load_pretrained(model, path, SPELLINGS)
    check_transfer(model, before, given, log)


def test_classes_of_torchvision_come_in_our_order_where_they_are_as_many(tmp_path, log):
    weights = torchvision_file("mask_r50")
    model = make_model(80)
    load_pretrained(model, saved(tmp_path, weights), SPELLINGS)
    expected = imported("mask_r50", weights).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert [record.getMessage().split(": ")[1] for record in log.records] == ["307 of 307 weights loaded"]


def test_kr_3_a_residual_network_alone_in_torchvision_s_and_detectron2_s_names(tmp_path, log):
    given = {n: v for n, v in own_weights("mask_r50_detectron2").items() if n.startswith(BACKBONE)}
    for names, classes in ((TORCHVISION_RESNET, "fc"), (DETECTRON2_RESNET, "stem.fc")):
        weights = respelled(given, names.inverse()) | {f"{classes}.weight": torch.ones(10, 32)}
        model = make_model()
        before = copies(model)
        log.clear()
        load_pretrained(model, saved(tmp_path, weights), SPELLINGS)
        for name, value in model.state_dict().items():
            assert torch.equal(value, given.get(name, before[name])), name
        assert "265 of 307 weights loaded: backbone.bottom_up.*" in log.text
        assert "42 of 307 weights start afresh: backbone.fpn_lateral2.*" in log.text
        assert "not used" not in log.text


def test_msra_s_residual_network(tmp_path, log):
    """Its norms are a factor and a summand: their statistics become those of a norm that does nothing else."""
    given = {n: v for n, v in own_weights("mask_r50_detectron2").items() if n.startswith(BACKBONE)}
    weights = respelled({n: v for n, v in given.items() if "running" not in n}, CAFFE2_RESNET.inverse())
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch1_w", "res5_2_branch2c_bn_b"} <= weights.keys()
    others = {"fc1000_w": torch.ones(2, 2), "conv1_b": torch.zeros(8), "res2_0_branch2a_w_momentum": torch.ones(3)}
    content = {name: value.numpy() for name, value in (weights | others).items()}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(content, 2))
    model = make_model()
    for name, value in model.state_dict().items():
        if "running" in name:
            value.fill_(7)
    load_pretrained(model, path, SPELLINGS)
    for name, value in model.backbone.bottom_up.state_dict().items():
        constant = {"running_mean": 0.0, "running_var": 1.0}.get(name.rpartition(".")[2])
        expected = given[BACKBONE + name] if constant is None else torch.full_like(value, constant)
        assert torch.equal(value, expected), name
    assert "265 of 307 weights loaded: backbone.bottom_up.*" in log.text and "not used" not in log.text


def test_only_some_parts(tmp_path, log):
    given = own_weights("mask_r50_detectron2")
    model = make_model(80)
    before = copies(model)
    load_pretrained(model, saved(tmp_path, given), SPELLINGS, ["backbone.bottom_up.res", "roi_heads.box_head"])
    for name, value in model.state_dict().items():
        taken = name.startswith(("backbone.bottom_up.res", "roi_heads.box_head"))
        assert torch.equal(value, given[name] if taken else before[name]), name
    assert "start afresh: backbone.bottom_up.stem.*, backbone.fpn_lateral2.*" in log.text


def test_counters_of_batch_norm_are_not_missed(tmp_path, log):
    given = own_weights("mask_r50_v2")
    model = RCNN.from_config(SMALL.preset("mask_r50_v2"), coco_facts())
    load_pretrained(model, saved(tmp_path, given), SPELLINGS)
    assert "363 of 363 weights loaded" in log.text and "afresh" not in log.text


@pytest.mark.parametrize("name", ["n" * 5000, "a\nb", "\x1b[31mred"])
def test_what_else_a_file_has_is_listed_on_one_line(name, tmp_path, log):
    weights = own_weights("mask_r50_detectron2")
    load_pretrained(make_model(80), saved(tmp_path, weights | {name: torch.ones(2)}), SPELLINGS)
    (line,) = [record.getMessage() for record in log.records if "not used" in record.getMessage()]
    assert line.startswith(f"{tmp_path / 'w.pth'}: 1 others are not used: ")
    assert line.isprintable() and len(line) < 2000


def test_what_cannot_be_loaded_is_said(tmp_path):
    path = saved(tmp_path, {"fc.weight": torch.ones(2)})
    model = make_model()
    before = copies(model)
    with pytest.raises(CheckpointError, match=r"w\.pth: none of its 1 weights fits"):
        load_pretrained(model, path, SPELLINGS)
    with pytest.raises(
        ConfigError, match=r"pretrained_parts: no weight's name begins with 'bakbone'; .*backbone, prop"
    ):
        load_pretrained(model, path, SPELLINGS, ["backbone", "bakbone"])
    saved(tmp_path, {n: v for n, v in own_weights("mask_r50_detectron2").items() if n.startswith(BACKBONE)})
    with pytest.raises(CheckpointError, match=r"w\.pth: has none of solver\.pretrained_parts \(roi_heads\)"):
        load_pretrained(model, path, SPELLINGS, ["roi_heads"])
    with pytest.raises(CheckpointError, match="no readable weights"):
        load_pretrained(model, tmp_path / "missing.pth", SPELLINGS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_recipe_loads_them_where_the_configuration_names_some(tmp_path):
    given = own_weights("mask_r50_detectron2")
    model = make_model(80)
    before = copies(model)
    solver = replace(model.config.solver, max_iter=1, lr_decay=())
    for path, parts in (("", ()), (str(saved(tmp_path, given)), ("backbone",))):
        config = replace(model.config, solver=replace(solver, pretrained=path, pretrained_parts=parts))
        RCNNRecipe(model, config, TrainingRuntime(torch.device("cpu"))).load_pretrained()
        expected = {name: given[name] if path and name.startswith("backbone") else before[name] for name in before}
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
