# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import yaml
from ldie.config import RunConfig, load_yaml, merge, override, spelled, to_dict, to_yaml
from ldie.errors import ConfigError
from pydantic import BeforeValidator


def no_flag(value: object) -> object:
    if isinstance(value, bool):  # True == 1, and pydantic looks up literals by equality
        raise ValueError(f"must be one of 1, 2, got {value}")
    return value


@dataclass(frozen=True)
class Inner:
    masking: bool = True
    adv_loss_fn: Literal["wasserstein", "hinge"] = "wasserstein"
    level: Annotated[Literal[1, 2], BeforeValidator(no_flag)] = 1
    scales: tuple[int, ...] = (0, 1, 2)
    pair: tuple[float, float] = (0.6, 1.4)
    name: str = "inner"
    limit: int | None = None
    precision: Annotated[Literal["none", "half"], spelled({True: "half", "fp16": "half"})] = "none"


@dataclass(frozen=True)
class Outer:
    discriminator: Inner = field(default_factory=Inner)
    lr: float = 5e-4
    steps: int = 10


def test_keys_are_case_insensitive_and_values_typed():
    config = merge(Outer(), {"DISCRIMINATOR": {"MASKING": False, "Scales": [1, 2]}, "LR": 1, "steps": 20.0})
    assert config.discriminator == dataclasses.replace(Inner(), masking=False, scales=(1, 2))
    assert config.lr == 1.0 and type(config.lr) is float
    assert config.steps == 20 and type(config.steps) is int


@pytest.mark.parametrize(
    ("assignment", "path", "expected"),
    [
        ("DISCRIMINATOR.MASKING=false", ("discriminator", "masking"), False),
        ("lr=5e-3", ("lr",), 5e-3),  # YAML 1.1 reads this one as a string
        ("steps=1e3", ("steps",), 1000),
        ("discriminator.scales=3,4", ("discriminator", "scales"), (3, 4)),
        ("discriminator.scales=7", ("discriminator", "scales"), (7,)),
        ("discriminator.scales=[]", ("discriminator", "scales"), ()),
        ("discriminator.pair=[1, 2]", ("discriminator", "pair"), (1.0, 2.0)),
        ("discriminator.name=2024", ("discriminator", "name"), "2024"),
        ("discriminator.name=a=b", ("discriminator", "name"), "a=b"),
        ("discriminator.limit=5", ("discriminator", "limit"), 5),
        ("discriminator.limit=null", ("discriminator", "limit"), None),
        ("discriminator.adv_loss_fn=hinge", ("discriminator", "adv_loss_fn"), "hinge"),
        ("discriminator.precision=fp16", ("discriminator", "precision"), "half"),
        ("discriminator.precision=true", ("discriminator", "precision"), "half"),
        ("discriminator.precision=none", ("discriminator", "precision"), "none"),
    ],
)
def test_override(assignment, path, expected):
    value = override(Outer(), [assignment])
    for name in path:
        value = getattr(value, name)
    assert value == expected and type(value) is type(expected)


def test_later_overrides_win_and_the_input_stays():
    config = Outer()
    assert override(config, ["steps=1", "steps=2"]).steps == 2
    assert config == Outer()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "discriminator.maskin=true",
            "unknown configuration key discriminator.maskin; did you mean discriminator.masking?",
        ),
        ("zzz=1", "unknown configuration key zzz; known: discriminator, lr, steps"),
        ("discriminator.masking=1", "discriminator.masking must be bool, got 1"),
        ("discriminator.adv_loss_fn=hing", "must be one of wasserstein, hinge, got 'hing'"),
        ("discriminator.level=true", "must be one of 1, 2, got True"),
        ("discriminator.pair=1", "discriminator.pair must have 2 entries, got 1"),
        ("discriminator.scales=1,x", r"discriminator.scales\[1\] must be int, got 'x'"),
        ("discriminator=1", "discriminator is a section"),
        ("steps=1.5", "steps must be int, got 1.5"),
        ("steps=true", "steps must be int, got True"),
        ("steps=", "steps must be int"),
        ("lr=[1", "not a YAML value"),
        ("steps", "expected key=value, got 'steps'"),
        ("discriminator.pair=1,2,3", "discriminator.pair must have 2 entries, got 3"),
        ("discriminator.scales={a: 1}", "discriminator.scales must be a list, got {'a': 1}"),
        ("discriminator.limit=x", "discriminator.limit must be int, got 'x'"),
        ("lr=.nan", "lr must be a number, got nan"),
    ],
)
def test_bad_overrides(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(Outer(), [assignment])


@dataclass(frozen=True)
class Phase:
    name: str = "warm"
    steps: int = 1
    scales: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Phased:
    phases: tuple[Phase, ...] = (Phase(),)


def test_tuples_of_sections_survive_yaml(tmp_path):
    config = Phased((Phase(), Phase("both", 20, (0, 1))))
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert merge(Phased(), load_yaml(path)) == config
    assert override(Phased(), ["phases=[{NAME: last, steps: 3}]"]) == Phased((Phase("last", 3),))
    with pytest.raises(ConfigError, match=r"phases\[0\]\.step; did you mean phases\[0\]\.steps"):
        merge(Phased(), {"phases": [{"step": 3}]})
    with pytest.raises(ConfigError, match=r"phases\[1\] is a section with keys of its own, got 3"):
        merge(Phased(), {"phases": [{}, 3]})


@dataclass(frozen=True)
class Perhaps:
    phase: Phase | None = None
    size: int | tuple[int, int] = 1
    order: tuple[int, int] | None = None
    label: str | None = None
    norm: Literal["batch"] | None = None


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("phase={STEPS: 3}", Perhaps(phase=Phase(steps=3))),
        ("phase.steps=3", Perhaps(phase=Phase(steps=3))),
        ("size=3,4", Perhaps(size=(3, 4))),
        ("size=3", Perhaps(size=3)),
        ("order=3,4", Perhaps(order=(3, 4))),
        ("order=none", Perhaps()),
        ("label=2024", Perhaps(label="2024")),
        ("label=~", Perhaps()),
        ("norm=batch", Perhaps(norm="batch")),
    ],
)
def test_values_of_several_types(assignment, expected):
    assert override(Perhaps(), [assignment]) == expected


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("phase.step=3", "unknown configuration key phase.step; did you mean phase.steps?"),
        ("phase=3", "phase is a section with keys of its own, got 3"),
        ("phase.steps=x", "phase.steps must be int, got 'x'"),
        ("size=x", "size must be int, got 'x'"),
        ("order=3", "order must have 2 entries, got 1"),
        ("norm=group", "norm must be one of batch, got 'group'"),
    ],
)
def test_bad_values_of_several_types(assignment, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        override(Perhaps(), [assignment])


def test_names_that_look_like_numbers(tmp_path):
    config = override(RunConfig(), ["output_dir=1e3", "dataset.root=2024"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert merge(RunConfig(), load_yaml(path)) == config
    with pytest.raises(ConfigError, match="not valid Unicode"):
        merge(RunConfig(), {"output_dir": "\udcff"})


def test_same_key_in_two_cases():
    with pytest.raises(ConfigError, match="lr is given twice"):
        merge(Outer(), {"lr": 1.0, "LR": 2.0})


def test_yaml_round_trip(tmp_path):
    config = override(RunConfig(), ["solver.lr_decay=1,2", "mixed_precision=bf16", "solver.lr_gamma=1e-7"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert merge(RunConfig(), load_yaml(path)) == config
    assert yaml.safe_load(to_yaml(config)) == to_dict(config)


@pytest.mark.parametrize(("text", "message"), [("a: [1", "not valid YAML at line"), ("- 1", "expected a mapping")])
def test_bad_yaml(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_yaml(path)


def test_missing_yaml(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read"):
        load_yaml(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path)
