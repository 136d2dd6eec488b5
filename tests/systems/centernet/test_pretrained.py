"""Weights to start from: files of several kinds, which networks they reach, and when they are read."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError
from ldie.nn.weights import copy_fitting, copy_whole
from ldie.systems.centernet import SYSTEM
from ldie.systems.centernet.recipe import CenterNetRecipe
from ldie.weights import read_weights
from safetensors.torch import save_file
from systems.centernet.helpers import make_shapes, small_config, small_recipe
from torch import nn

SAME_STEMS = {"extractor": {"stem_stride": 4}}


def donor(**model) -> dict[str, torch.Tensor]:
    """Weights unlike those of ``small_recipe``, which has seed 0."""
    recipe = small_recipe(model=SAME_STEMS | model)
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in recipe.model.state_dict().items()
    }


def save(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def equal_parts(
    recipe: CenterNetRecipe, weights: dict[str, torch.Tensor], prefix: str, source: str | None = None
) -> bool:
    source = source or prefix
    own = {name: value for name, value in recipe.model.state_dict().items() if name.startswith(prefix)}
    return all(torch.equal(value, weights[source + name.removeprefix(prefix)]) for name, value in own.items())


@pytest.mark.parametrize(("suffix", "prefix"), [(".safetensors", ""), (".pth", "model."), (".pth", "module.")])
def test_imagenet_weights_reach_all_extractors_and_nothing_else(tmp_path, suffix, prefix):
    weights = donor()
    path = save(tmp_path / f"w{suffix}", {prefix + name: value for name, value in weights.items()})
    solver = {"imagenet_pretrained": True, "imagenet_pretrained_model": str(path)}
    fresh, recipe = small_recipe(model=SAME_STEMS), small_recipe(model=SAME_STEMS, solver=solver)
    recipe.load_pretrained()
    for scale in range(3):
        assert equal_parts(recipe, weights, f"extractors.{scale}.", "extractors.0.")
    for prefix in ("detector.", "discriminator."):
        assert equal_parts(recipe, fresh.model.state_dict(), prefix)


def test_pretrained_reaches_extractors_and_detector_but_not_the_discriminator(tmp_path):
    weights = donor()
    path = save(tmp_path / "run.safetensors", weights)
    solver = {"pretrained": True, "pretrained_model": str(path)}
    recipe, fresh = small_recipe(model=SAME_STEMS, solver=solver), small_recipe(model=SAME_STEMS)
    recipe.load_pretrained()
    assert all(equal_parts(recipe, weights, f"extractors.{scale}.", "extractors.0.") for scale in range(3))
    assert equal_parts(recipe, weights, "detector.")
    assert equal_parts(recipe, fresh.model.state_dict(), "discriminator.")


def test_a_scale_without_scale_0_starts_from_it(tmp_path):
    weights = donor()
    solver = {"pretrained": True, "pretrained_model": str(save(tmp_path / "run.safetensors", weights))}
    recipe = small_recipe(model=SAME_STEMS | {"valid_scale": [1]}, solver=solver)
    recipe.load_pretrained()
    assert equal_parts(recipe, weights, "extractors.1.", "extractors.0.")


def test_another_number_of_classes_keeps_the_rest(tmp_path, caplog):
    weights = donor(num_classes=5)
    solver = {"pretrained": True, "pretrained_model": str(save(tmp_path / "run.pth", weights))}
    recipe = small_recipe(model=SAME_STEMS, solver=solver)
    recipe.load_pretrained()
    assert equal_parts(recipe, weights, "detector.stages.")
    assert equal_parts(recipe, small_recipe(model=SAME_STEMS).model.state_dict(), "detector.heatmap.2.")
    assert "2 of" in caplog.text and "heatmap.2.weight" in caplog.text


def test_settings_that_are_off_read_nothing():
    recipe = small_recipe(solver={"pretrained_model": "missing.pth", "imagenet_pretrained_model": "missing.pth"})
    before = {name: value.clone() for name, value in recipe.model.state_dict().items()}
    recipe.load_pretrained()
    assert all(torch.equal(value, before[name]) for name, value in recipe.model.state_dict().items())


def test_a_run_starts_from_them_and_its_checkpoint_needs_them_no_more(tmp_path):
    weights = donor()
    path = save(tmp_path / "run.pth", weights)
    solver = {"pretrained": True, "pretrained_model": str(path), "max_iter": 0}
    config = small_config(model=SAME_STEMS, solver=solver)
    shapes = make_shapes(tmp_path)
    work_dir = tmp_path / "run"

    def trainer(resume: bool) -> Trainer:
        return Trainer(SYSTEM, replace(config, output_dir=str(work_dir)), *shapes, torch.device("cpu"), resume)

    first = trainer(resume=False)
    assert equal_parts(first.recipe, weights, "detector.stages.")
    first.run()
    path.unlink()
    assert equal_parts(trainer(resume=True).recipe, weights, "detector.stages.")
    assert checkpoint.newest(work_dir).is_file()


def test_extractor_of_other_layers_is_refused(tmp_path):
    path = save(tmp_path / "run.pth", donor())
    recipe = small_recipe(solver={"imagenet_pretrained": True, "imagenet_pretrained_model": str(path)})
    with pytest.raises(CheckpointError, match=r"extractors\.0\.\* for scale 0: .* another network .*stem"):
        recipe.load_pretrained()


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth"
    torch.save({"weight": Harmful()}, path)
    with pytest.raises(CheckpointError, match="no readable weights"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(CheckpointError, match="no readable weights"):
        read_weights(path)
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.safetensors", None, "no readable weights"),
        ("missing.pth", None, "no readable weights"),
        ("broken.safetensors", b"12", "no readable weights"),
        ("broken.pth", b"12", "no readable weights"),
        ("list.pth", [1, 2], "expected weights by name, got list"),
        ("numbers.pth", {"epoch": 3}, "holds no named tensors"),
    ],
)
def test_unusable_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message) as error:
        read_weights(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_weights_are_found(tmp_path, wrapper):
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, wrapper: {"module.weight": torch.ones(2)}}, path)
    assert list(read_weights(path)) == ["weight"]


def test_copies_say_what_differs():
    network = nn.Linear(2, 3)
    with pytest.raises(CheckpointError, match=r"here: .*missing: bias \[3\]; not in it: none"):
        copy_whole(network, {"weight": torch.ones(3, 2)}, "here")
    with pytest.raises(CheckpointError, match="here: none of its 1 weights fits"):
        copy_fitting(network, {"weight": torch.ones(2, 2)}, "here")
