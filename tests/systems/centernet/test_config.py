"""Configuration keys of the published system, in any case, and their aliases."""

import re

import pytest
from ldie.config import load_yaml, merge, override, to_dict, to_yaml
from ldie.errors import ConfigError
from ldie.schedule import lr_factor
from ldie.systems import get_system
from ldie.systems.centernet import CenterNet, CenterNetRecipe
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.presets import PRESETS
from systems.centernet.helpers import small_config, small_model

PUBLISHED = """
MODEL:
  NUM_CLASSES: 7
  DOWN_RATIOS: [4, 2, 1]
  VALID_SCALE: [0, 2]
  EXTRACTOR: {TYPE: unet}
  DETECTOR: {TYPE: resnet18, IMAGE_INPUT: true, INPUT_CHANNEL: 16, ACTIVATION: lrelu, NORMALIZATION: batch}
  DISCRIMINATOR:
    TYPE: residual_wo_padding
    INPUT_CHANNEL: 2
    HIDDEN_CHANNEL: 24
    ACTIVATION: relu
    NORMALIZATION: spectral
    MASKING: false
    MASKING_CLASS_AGNOSTIC: true
    NORMALIZE_LOSS_WITH_MASK: false
SOLVER:
  BATCH_SIZE: 4
  MAX_ITER: 90
  LR_DECAY: [40, 80]
  SYNC_BATCHNORM: true
  IMAGENET_PRETRAINED: true
  IMAGENET_PRETRAINED_MODEL: extractor.pth
  PRETRAINED: true
  PRETRAINED_MODEL: run.safetensors
  CONTENTS_MATCH: true
  ADV_LOSS_FN: wasserstain
  EXTRACTOR: {WEIGHT_FIX: true}
  DETECTOR:
    LR: 0.25
    HM_LOSS_WEIGHT: 2
    HM_LOSS_ALPHA: 3
    HM_LOSS_BETA: 5
    WH_LOSS_WEIGHT: 0.5
    REG_LOSS_WEIGHT: 0.75
    ADV_LOSS_WEIGHT: 0.125
    RECON_LOSS_WEIGHT: 1.5
    GRADIENT_CLIP: 35
    INIT_TRAIN_ITER: 3
    WEIGHT_FIX: false
  DISCRIMINATOR: {LR: 5e-4, ADV_LOSS_WEIGHT: 0.25, GRADIENT_CLIP: 1, INIT_TRAIN_ITER: 5, GP: true, GP_WEIGHT: 100.}
  DATA: {RESIZE_RANGE: [0.5, 2], HEATMAP_SIZE: [128, 64], BOX_THRESHOLD: [0.3, 0.95, 0.9], MAX_OBJECTS: 12}
INPUT: {MEAN: [0.1, 0.2, 0.3], STD: [0.4, 0.5, 0.6]}
DATASET: {TRAIN: train2014, VAL: val2014}
TEST: {MAX_OBJECTS: 50, NMS: false, NMS_THRESHOLD: 0.25}
MIXED_PRECISION: true
OUTPUT_DIR: out
SEED: 123
"""
SPELLED_OUT = {
    "model.detector.activation": "leaky_relu",
    "solver.adv_loss_fn": "wasserstein",
    "solver.discriminator.lr": 5e-4,  # YAML 1.1 reads this one as a string
    "mixed_precision": "fp16",
}


def leaves(values, prefix=""):
    """Values by dotted lower-case key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key.lower()}.")
        else:
            yield prefix + key.lower(), value


def test_every_published_key_works_in_upper_case(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED)
    values = load_yaml(path)
    config = merge(CenterNetConfig(), values)
    config.check()
    found = dict(leaves(to_dict(config)))
    for key, value in leaves(values):
        assert found[key] == SPELLED_OUT.get(key, value), key


def test_defaults_of_the_mask_settings():
    discriminator = CenterNetConfig().model.discriminator
    assert discriminator.masking
    assert not discriminator.masking_class_agnostic
    assert discriminator.normalize_loss_with_mask


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("solver.adv_loss_fn=wasserstain", "wasserstein"),
        ("solver.adv_loss_fn=wasserstein", "wasserstein"),
        ("MODEL.DETECTOR.ACTIVATION=lrelu", "leaky_relu"),
        ("MIXED_PRECISION=false", "none"),
        ("MIXED_PRECISION=True", "fp16"),
        ("mixed_precision=bf16", "bf16"),
    ],
)
def test_other_spellings(assignment, value):
    config = override(CenterNetConfig(), [assignment])
    assert dict(leaves(to_dict(config)))[assignment.partition("=")[0].lower()] == value


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("solver.adv_loss_fn=hinges", "adv_loss_fn must be one of"),
        ("model.discriminator.maskin=true", "did you mean model.discriminator.masking"),
        ("model.valid_scale=0,3", "model.valid_scale must name scales 0..2"),
        ("model.valid_scale=1,1", "model.valid_scale must name scales 0..2"),
        ("model.valid_scale=[]", "model.valid_scale must name scales 0..2"),
        ("model.down_ratios=6,2,1", "powers of two, got 6"),
        ("solver.detector.lr=-1", "solver.detector.lr must be positive and finite, got -1.0"),
        ("solver.discriminator.lr=.inf", "solver.discriminator.lr must be positive and finite, got inf"),
        ("mixed_precision=yes please", "mixed_precision must be one of"),
        ("model.discriminator.type=style", "set model.discriminator.masking=false"),
        ("model.discriminator.input_channel=9", "model.discriminator.input_channel must be 1..8"),
        ("solver.pretrained=true", "solver.pretrained needs the name of a file in solver.pretrained_model"),
        ("solver.data.heatmap_size=16,0", "solver.data.heatmap_size must be at least 1"),
        ("solver.batch_size=0", "solver.batch_size must be at least 1, got 0"),
        ("test.crop_multiple=0", "test.crop_multiple must be at least 1"),
        ("solver.data.box_threshold=0.3", "solver.data.box_threshold must have one entry per scale"),
    ],
)
def test_bad_values_are_named(assignment, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        small_model(override(small_config(), [assignment]))


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["model.discriminator.type=residual_wo_padding", "model.discriminator.blocks=4"], "must be at least 21"),
        (["model.valid_scale=0", "solver.discriminator.gp=true"], "solver.discriminator.gp compares scales"),
        (["model.discriminator.type=none", "solver.discriminator.gp=true"], "solver.discriminator.gp needs a discrim"),
        (
            ["model.valid_scale=0", "solver.detector.weight_fix=true", "solver.extractor.weight_fix=true"],
            "leave nothing to train",
        ),
    ],
)
def test_keys_that_do_not_fit_together(assignments, message):
    with pytest.raises(ConfigError, match=message):
        override(small_config(), assignments).check()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_survive_yaml(preset, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(PRESETS[preset]))
    assert merge(CenterNetConfig(), load_yaml(path)) == PRESETS[preset]


def test_registered():
    system = get_system("centernet")
    assert (system.name, system.model, system.recipe) == ("centernet", CenterNet, CenterNetRecipe)
    assert system.presets is PRESETS and system.default_preset in PRESETS


def test_full_preset_is_the_published_one():
    config = PRESETS["full"]
    solver = config.solver
    assert (config.model.num_classes, config.model.down_ratios, solver.data.cells) == (80, (4, 2, 1), (128, 128))
    assert (solver.detector.lr, solver.discriminator.lr, solver.batch_size) == (5e-4, 2.5e-4, 32)
    assert (solver.max_iter, solver.lr_schedule, solver.lr_decay) == (900_000, "step", (400_000, 800_000))
    assert [lr_factor(solver, step) for step in (0, 399_999, 400_000, 800_000)] == pytest.approx([1, 1, 0.1, 0.01])
    assert (solver.detector.init_train_iter, solver.discriminator.init_train_iter) == (5000, 5000)
    assert (solver.log_step, solver.save_step, solver.sync_batchnorm, config.seed) == (50, 50_000, True, 123)
    assert (solver.data.resize_range, solver.data.box_threshold) == ((0.6, 1.4), (0.3, 0.95, 0.95))
    weights = solver.detector
    assert (weights.hm_loss_weight, weights.wh_loss_weight, weights.reg_loss_weight) == (1, 0.1, 1)
    assert (weights.adv_loss_weight, solver.discriminator.adv_loss_weight, weights.recon_loss_weight) == (0.1, 0.1, 1)
    assert (config.input.bgr, config.input.mean, config.input.std) == (
        True, (0.408, 0.447, 0.470), (0.289, 0.274, 0.278)
    )  # fmt: skip
    assert (config.test.max_objects, config.test.nms, config.test.nms_threshold) == (100, True, 0.5)
