"""Tables of names: the little language of patterns, and the tables of published models, forwards and back."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch
from ldie.weights import names, read_weights
from ldie.weights.names import NameTable
from ldie.weights.rcnn import (
    CAFFE2_RESNET,
    DETECTRON2,
    DETECTRON2_RESNET,
    TORCHVISION,
    TORCHVISION_RESNET,
    TORCHVISION_V2,
    background_last,
    with_statistics,
)

LISTED = Path(__file__).with_name("torchvision_names.txt")
KEYPOINT, MASK, MASK_V2 = "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"
TABLES = {KEYPOINT: TORCHVISION, MASK: TORCHVISION, MASK_V2: TORCHVISION_V2}


def test_the_example_runs():
    assert doctest.testmod(names).failed == 0


@pytest.mark.parametrize(
    ("pattern", "target", "name", "expected"),
    [
        ("a.<n>", "b<n+2>", "a.3", "b5"),
        ("a.<n+2>", "b<n>", "a.3", "b1"),
        ("a.<n+2>", "b<n>", "a.1", None),
        ("a.<6u+4>.*", "b.<u>.*", "a.10.x.y", "b.1.x.y"),
        ("a.<6u+4>.*", "b.<u>.*", "a.11.x", None),
        ("<n>.<n>", "<n>", "2.2", "2"),
        ("<n>.<n>", "<n>", "2.3", None),
        ("<n>.<m>", "<m>.<n>", "10.3", "3.10"),
        ("a.<n>", "b.<n>", "a.01", None),
        ("a.<n>", "b.<n>", "a.-1", None),
        ("a.<n>", "b.<n>", "a." + "9" * 5000, None),
        ("a.b", "c", "axb", None),
        ("a.*", "b.*", "a.", "b."),
        ("a", "b", "a.c", None),
    ],
)
def test_patterns(pattern, target, name, expected):
    table = NameTable({pattern: target})
    assert table.rename(name) == expected
    if expected is not None:
        assert table.inverse().rename(expected) == name


def test_names_without_a_rule_and_names_that_meet():
    table = NameTable({"a": "x", "b": "x", "c.*": "y.*"}, older={"old": "a"}, dropped=("junk.*",))
    assert table.rename_all({"a": 1, "d": 2, "c.num_batches_tracked": 3, "junk.z": 4}) == ({"x": 1}, ["d"])
    assert table.rename_all({"a": 1, "b": 2, "old": 3}) == ({"x": 1}, ["b", "old"])
    assert table.rename_all({"old": 3}) == ({"x": 3}, [])


def listed(model: str, old: bool) -> dict[str, torch.Tensor]:
    """Random tensors under torchvision's names; the old names of a file have no counters of batch norm."""
    text = LISTED.read_text()
    section = "".join(text.split(f"[{name}]\n")[1].split("[")[0] for name in ("backbone", model))
    generator, tensors = torch.Generator().manual_seed(0), {}
    for line in section.splitlines():
        name, shape, *before = line.split()
        size = [] if shape == "-" else [int(number) for number in shape.split(",")]
        few = [*size[:1], *(min(number, 2) for number in size[1:])]  # rows count, the rest need not be large
        value = torch.rand(few, generator=generator)
        if not (old and name.endswith("num_batches_tracked")):
            tensors[before[0] if old and before else name] = value
    return tensors


def printed(model: str) -> set[str]:
    """Detectron2's names of the same networks, from how they are built: ResNet-50 with frozen norms, FPN, heads."""
    convs = {"backbone.bottom_up.stem.conv1"}
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3)):
        for block in range(blocks):
            place = f"backbone.bottom_up.res{stage}.{block}"
            convs |= {f"{place}.conv{k}" for k in (1, 2, 3)} | ({f"{place}.shortcut"} if block == 0 else set())
    pyramid = {f"backbone.fpn_{kind}{level}" for kind in ("lateral", "output") for level in (2, 3, 4, 5)}
    layers = {f"proposal_generator.rpn_head.{part}" for part in ("objectness_logits", "anchor_deltas")}
    layers |= {"roi_heads.box_head.fc1", "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"}
    if model == KEYPOINT:
        head, parts = "keypoint_head", [*(f"conv_fcn{i}" for i in range(1, 9)), "score_lowres"]
    else:
        head, parts = "mask_head", ["deconv", "predictor"]
    layers |= {f"roi_heads.{head}.{part}" for part in parts}
    masks = {f"roi_heads.mask_head.mask_fcn{i}" for i in range(1, 5)} if model != KEYPOINT else set()
    if model == MASK_V2:
        convs |= pyramid | masks | {f"roi_heads.box_head.conv{i}" for i in range(1, 5)}
        layers |= {f"proposal_generator.rpn_head.conv.conv{i}" for i in (0, 1)}
    else:
        layers |= pyramid | masks | {"proposal_generator.rpn_head.conv", "roi_heads.box_head.fc2"}
    found = {f"{conv}.weight" for conv in convs}
    found |= {f"{conv}.norm.{part}" for conv in convs for part in ("weight", "bias", "running_mean", "running_var")}
    return found | {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("model", "old", "count", "counters"),
    [
        (KEYPOINT, False, 313, 53), (KEYPOINT, True, 313, 0),
        (MASK, False, 307, 53), (MASK, True, 307, 0),
        (MASK_V2, False, 363, 69),
    ],
)  # fmt: skip
def test_torchvision_s_models_one_to_one(model, old, count, counters):
    table, tensors = TABLES[model], listed(model, old)
    assert len(tensors) == count + counters
    renamed, unknown = table.rename_all(tensors)
    assert unknown == [] and len(renamed) == count
    assert renamed.keys() == printed(model)
    back = table.inverse()
    current = {name for name in listed(model, old=False) if not name.endswith("num_batches_tracked")}
    assert {back.rename(name) for name in renamed} == current
    assert all(back.rename(table.rename(name)) == name for name in current)
    single = [NameTable({source: target}) for source, target in table.rules.items()]
    for name in current:
        assert sum(rule.rename(name) is not None for rule in single) == 1, name


@pytest.mark.parametrize(
    ("table", "examples"),
    [
        (TORCHVISION_RESNET, {"conv1.weight": "stem.conv1.weight", "layer4.2.bn3.bias": "res5.2.conv3.norm.bias"}),
        (DETECTRON2_RESNET, {"res5.2.conv3.norm.bias": "res5.2.conv3.norm.bias"}),
        (
            CAFFE2_RESNET,
            {
                "conv1_w": "stem.conv1.weight",
                "res_conv1_bn_s": "stem.conv1.norm.weight",
                "res2_0_branch1_bn_b": "res2.0.shortcut.norm.bias",
                "res4_5_branch2a_w": "res4.5.conv1.weight",
                "res5_2_branch2c_bn_rm": "res5.2.conv3.norm.running_mean",
                "res5_2_branch2b_bn_riv": "res5.2.conv2.norm.running_var",
            },
        ),
    ],
    ids=["torchvision", "detectron2", "caffe2"],
)
def test_residual_networks_alone_one_to_one(table, examples):
    prefix = "backbone.bottom_up."
    ours = [name for name in printed(MASK) if name.startswith(prefix)]
    theirs = {table.inverse().rename(name): name for name in ours}
    assert len(theirs) == len(ours) == 265 and None not in theirs
    assert {name: table.rename(name) for name in theirs} == theirs
    for name, expected in examples.items():
        assert theirs[name] == prefix + expected
    classes = {"fc.weight": 0, "stem.fc.bias": 0, "linear.weight": 0, "fc1000_w": 0, "conv1_b": 0, "pred_b": 0}
    assert len(table.rename_all(classes)[0]) == 0 and "other" in table.rename_all({"other": 0})[1]


def test_norms_without_statistics_get_those_that_do_nothing_and_others_keep_theirs():
    norms = {"a.norm.weight": torch.rand(3), "b.norm.weight": torch.rand(2), "b.norm.running_var": torch.rand(2)}
    found = with_statistics(norms | {"c.weight": torch.rand(4)})
    assert {name for name in found if "running" in name} == {
        f"{n}.norm.running_{k}" for n in "ab" for k in ("mean", "var")
    }
    assert torch.equal(found["b.norm.running_var"], norms["b.norm.running_var"])
    assert found["a.norm.running_mean"].tolist() == [0] * 3 and found["a.norm.running_var"].tolist() == [1] * 3


def test_values_keep_to_their_names():
    """The same network under new, old and detectron2's names gives the same tensors."""
    for model in (KEYPOINT, MASK):
        new, old = (TORCHVISION.rename_all(listed(model, old))[0] for old in (False, True))
        assert new.keys() == old.keys() and all(torch.equal(new[name], old[name]) for name in new)
    new, _ = TORCHVISION.rename_all(listed(KEYPOINT, old=False))
    tensors = listed(KEYPOINT, old=False)
    for ours, theirs in {
        "backbone.bottom_up.res4.5.conv2.norm.running_var": "backbone.body.layer3.5.bn2.running_var",
        "backbone.bottom_up.res2.0.shortcut.weight": "backbone.body.layer1.0.downsample.0.weight",
        "roi_heads.keypoint_head.conv_fcn8.bias": "roi_heads.keypoint_head.14.bias",
        "backbone.fpn_output5.weight": "backbone.fpn.layer_blocks.3.0.weight",
    }.items():
        assert torch.equal(new[ours], tensors[theirs])
    anchors = {"pixel_mean": torch.ones(3), "proposal_generator.anchor_generator.cell_anchors.0": torch.ones(3, 4)}
    again, unknown = DETECTRON2.rename_all(new | anchors)
    assert unknown == [] and again.keys() == new.keys()


@pytest.mark.parametrize("model", [KEYPOINT, MASK, MASK_V2])
def test_background_moves_last_in_scores_and_out_of_boxes_and_masks(model):
    """Row by row: class c of torchvision, counted from 1 after the background, is our class c - 1."""
    given, _ = TABLES[model].rename_all(listed(model, old=False))
    found = background_last(given)
    assert found.keys() == given.keys()
    scores, boxes = "roi_heads.box_predictor.cls_score.{}", "roi_heads.box_predictor.bbox_pred.{}"
    classes = len(given[scores.format("bias")]) - 1
    assert classes == (1 if model == KEYPOINT else 90)
    for kind in ("weight", "bias"):
        before, after = given[scores.format(kind)], found[scores.format(kind)]
        assert torch.equal(after[classes], before[0]) and all(
            torch.equal(after[c], before[c + 1]) for c in range(classes)
        )
        before, after = given[boxes.format(kind)], found[boxes.format(kind)]
        assert len(after) == 4 * classes and torch.equal(after.unflatten(0, (-1, 4)), before.unflatten(0, (-1, 4))[1:])
        if model != KEYPOINT:
            before, after = (part[f"roi_heads.mask_head.predictor.{kind}"] for part in (given, found))
            assert len(after) == classes and all(torch.equal(after[c], before[c + 1]) for c in range(classes))
    same = [name for name in given if "predictor" not in name]
    assert all(found[name] is given[name] for name in same) and len(same) >= 300


def test_a_file_of_torchvision_from_disk_to_our_names(tmp_path):
    path = tmp_path / "keypointrcnn.pth"
    torch.save(listed(KEYPOINT, old=True), path)
    renamed, unknown = TORCHVISION.rename_all(read_weights(path))
    assert unknown == [] and renamed.keys() == printed(KEYPOINT)
