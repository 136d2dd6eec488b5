"""Configuration keys of the published system, in any case, and their aliases."""

import re

import pytest
from ldie.config import ConfigError, load_yaml, merge, override, to_yaml
from ldie.systems import get_system
from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.presets import PRESETS
from ldie.systems.centernet.system import CenterNet
from systems.centernet.helpers import small_config


def test_published_keys_work_in_upper_case():
    config = merge(
        CenterNetConfig(),
        {
            "MODEL": {"NUM_CLASSES": 7, "DISCRIMINATOR": {"MASKING": False, "MASKING_CLASS_AGNOSTIC": True}},
            "SOLVER": {"BATCH_SIZE": 4, "ADV_LOSS_FN": "hinge", "DETECTOR": {"LR": 0.25, "INIT_TRAIN_ITER": 3}},
            "TEST": {"NMS": False, "NMS_THRESHOLD": 0.25},
            "SEED": 123,
        },
    )
    assert config.model.num_classes == 7
    assert not config.model.discriminator.masking
    assert config.model.discriminator.masking_class_agnostic
    assert (config.solver.batch_size, config.solver.adv_loss_fn) == (4, "hinge")
    assert (config.solver.detector.lr, config.solver.detector.init_train_iter) == (0.25, 3)
    assert (config.test.nms, config.test.nms_threshold, config.seed) == (False, 0.25, 123)


def test_defaults_of_the_mask_settings():
    discriminator = CenterNetConfig().model.discriminator
    assert discriminator.masking
    assert not discriminator.masking_class_agnostic
    assert discriminator.normalize_loss_with_mask


@pytest.mark.parametrize("spelling", ["wasserstain", "wasserstein"])
def test_both_spellings_of_the_default_loss(spelling):
    assert override(CenterNetConfig(), [f"solver.adv_loss_fn={spelling}"]).solver.adversarial_kind == "wasserstein"


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
        ("solver.data.box_threshold=0.3", "solver.data.box_threshold must have one entry per scale"),
    ],
)
def test_bad_values_are_named(assignment, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        CenterNet.from_config(override(small_config(), [assignment]))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_survive_yaml(preset, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(PRESETS[preset]))
    assert merge(CenterNetConfig(), load_yaml(path)) == PRESETS[preset]


def test_registered():
    assert get_system("centernet") is CenterNet
    assert CenterNet.default_preset in PRESETS
