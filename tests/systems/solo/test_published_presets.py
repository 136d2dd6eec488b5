"""The presets that others published, and the seed's: what each of them says, and that all of them can be made."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from ldie.config import RunConfig, load_yaml, merge, to_dict, to_yaml
from ldie.durations import in_steps
from ldie.schedule import lr_factor
from ldie.systems.solo import SYSTEM
from ldie.systems.solo.presets_published import PRESETS
from ldie.tasks.detection.coco_classes import coco_facts

EPOCH = Fraction(117_266, 16)
"""Steps: images of COCO's train2017 with an object, sixteen at a time."""
SIZES = [640, 672, 704, 736, 768, 800]
VARIANTS = {
    "match": {},
    "v2": {"solver.focal_alpha": 0.3, "solver.focal_gamma": 2.2},
    "v3": {"model.fpn_convs": 1, "model.fpn_relu": True},
    "v4": {"solver.loss_stride": 2},
    "aug": {"solver.data.shorter_sides": SIZES},
    "augv2": {"solver.focal_alpha": 0.3, "solver.focal_gamma": 2.2, "solver.data.shorter_sides": SIZES},
    "fixgt": {"solver.assign.clamp": True},
    "fixgt_v2": {"solver.assign.clamp": True, "solver.assign.skip_empty": True},
    "caffesgd": {"solver.sgd_style": "caffe"},
    "randscale": {"solver.data.shorter_sides": list(range(640, 801))},
}


def flat(config: RunConfig) -> dict[str, object]:
    """Values by their keys, as ``--set`` has them."""

    def walk(values: dict[str, object], prefix: str) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in values.items():
            found |= walk(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        return found

    return walk(to_dict(config), "")


def differences(config: RunConfig, other: RunConfig) -> dict[str, object]:
    """What ``config`` has that ``other`` has not."""
    before = flat(other)
    return {key: value for key, value in flat(config).items() if value != before[key]}


def test_the_published_ones_are_mmdetection_s_and_its_authors():
    expected = {
        "model.backbone.stride_in_1x1": False,
        "model.backbone.normalization": "frozen",
        "model.backbone.freeze_at": 2,
        "model.backbone.pyramid_channel": 256,
        "model.fpn_convs": 0,
        "model.fpn_relu": False,
        "model.head.grids": [40, 36, 24, 16, 12],
        "model.head.strides": [8, 8, 16, 32, 32],
        "model.head.convs": 7,
        "model.head.category_kernel": 3,
        "model.head.category_per_level": False,
        "model.head.align_corners": False,
        "model.head.mask_prior": 0.01,
        "solver.optimizer": "sgd",
        "solver.sgd_style": "plain",
        "solver.batch_size": 16,
        "solver.lr": 0.01,
        "solver.momentum": 0.9,
        "solver.weight_decay": 1e-4,
        "solver.gradient_clip": 35.0,
        "solver.focal_alpha": 0.25,
        "solver.focal_gamma": 2.0,
        "solver.mask_weight": 3.0,
        "solver.multi_scale_loss": True,
        "solver.dice_smooth": [0.0, 0.002],
        "solver.assign.scale_ranges": [[1, 96], [48, 192], [96, 384], [192, 768], [384, 2048]],
        "solver.assign.sigma": 0.2,
        "solver.assign.order": "given",
        "solver.assign.clamp": True,
        "solver.data.shorter_sides": [800],
        "solver.data.longest": 1333,
        "solver.data.mirror": 0.5,
        "input.bgr": False,
        "test.points_nms": 2,
        "test.score_thr": 0.1,
        "test.nms_pre": 500,
        "test.mask_threshold": 0.5,
        "test.nms": "matrix",
        "test.kernel": "gaussian",
        "test.sigma": 2.0,
        "test.update_threshold": 0.05,
        "test.detections": 100,
    }
    found = flat(SYSTEM.preset("r50_1x"))
    assert {key: found[key] for key in expected} == expected
    # (x / 255 - mean) / std is to be what mmdetection makes of a pixel of 0..255
    options = SYSTEM.preset("r50_1x").input
    pixel = torch.tensor([200.0, 100.0, 50.0])
    ours = (pixel / 255 - torch.tensor(options.mean)) / torch.tensor(options.std)
    theirs = (pixel - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "steps"), [("1x", (87_950, 65_963, 80_621)), ("3x", (263_849, 197_887, 241_862))])
def test_schedules(name, steps):
    """The authors' schedules in steps, and the learning rates of the first ones that the seed's log has."""
    for preset in ("r50", "seed_match"):
        solver = in_steps(SYSTEM.preset(f"{preset}_{name}"), EPOCH).solver
        assert (solver.max_iter, *solver.lr_decay) == steps
        rates = [solver.lr * lr_factor(solver, step) for step in (0, 49, 499, 500, steps[1] - 1)]
        assert [f"{rate:.5f}" for rate in rates] == ["0.00333", "0.00399", "0.00999", "0.01000", "0.01000"]
        later = [solver.lr * lr_factor(solver, step) for step in (*steps[1:], steps[0] - 1)]
        assert later == pytest.approx([1e-3, 1e-4, 1e-4])


def test_3x_is_1x_for_longer_on_more_sizes():
    changes = differences(SYSTEM.preset("r50_3x"), SYSTEM.preset("r50_1x"))
    assert set(changes) == {"solver.max_iter", "solver.lr_decay", "solver.data.shorter_sides"}
    assert changes["solver.data.shorter_sides"] == SIZES


def test_the_seed_s_variants_are_its_base_and_what_their_names_say():
    assert [name for name in PRESETS if name.startswith("seed_")] == [
        f"seed_{variant}_{schedule}" for variant in VARIANTS for schedule in ("1x", "3x")
    ]
    base = SYSTEM.preset("seed_match_1x")
    for variant, changes in VARIANTS.items():
        assert differences(SYSTEM.preset(f"seed_{variant}_1x"), base) == changes
        schedule = differences(SYSTEM.preset(f"seed_{variant}_3x"), SYSTEM.preset(f"seed_{variant}_1x"))
        assert set(schedule) == {"solver.max_iter", "solver.lr_decay"}


def test_the_seed_s_base_is_its_fork_s():
    expected = {
        "model.backbone.stride_in_1x1": True,
        "model.head.align_corners": True,
        "model.head.category_kernel": 1,
        "model.head.category_per_level": True,
        "model.head.mask_prior": 0.5,
        "solver.gradient_clip": 0.0,
        "solver.count_images": True,
        "solver.multi_scale_loss": False,
        "solver.mask_targets": "nearest",
        "solver.dice_smooth": [1.0, 1.0],
        "solver.assign.clamp": False,
        "solver.assign.order": "area",
        "solver.assign.skip_empty": False,
        "test.points_nms": 0,
        "test.score_thr": 0.05,
        "test.nms_pre": 1000,
        "test.min_area": "none",
        "test.maskness": False,
        "test.nms": "greedy",
        "test.update_threshold": 0.0,
        "test.min_pixels": 100,
    }
    base = SYSTEM.preset("seed_match_1x")
    found = {k: v for k, v in differences(base, SYSTEM.preset("r50_1x")).items() if not k.startswith("input.")}
    assert found == expected and base.solver.loss_stride == 4 and base.solver.assign.sigma == 0.2
    options = base.input
    pixel = torch.tensor([200.0, 100.0, 50.0])  # blue, green, red
    ours = (pixel / 255 - torch.tensor(options.mean)) / torch.tensor(options.std)
    torch.testing.assert_close(ours, pixel - torch.tensor([102.9801, 115.9465, 122.7717]), rtol=1e-4, atol=1e-4)
    assert options.bgr and (options.shorter_side, options.longest) == (800, 1333)


@pytest.mark.parametrize("name", PRESETS)
def test_all_can_be_made_and_written_down(name, tmp_path):
    config = SYSTEM.preset(name)
    with torch.device("meta"):
        model = SYSTEM.model.from_config(config, coco_facts())
    counts = {"seed_v3_1x": 345, "seed_v3_3x": 345, "r50_1x": 335, "r50_3x": 335}
    assert len(model.state_dict()) == counts.get(name, 343)
    frozen = {key.split(".")[2] for key, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {"stem", "res2"}
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert merge(type(config)(), load_yaml(tmp_path / "config.yaml")) == config
