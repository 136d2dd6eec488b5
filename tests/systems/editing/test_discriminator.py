# SPDX-License-Identifier: Apache-2.0
"""The discriminator: sizes, what it is told, what it belongs to; VGG19's distance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ldie.engine.checkpoint import Header, save_weights
from ldie.errors import CheckpointError, ConfigError
from ldie.systems.editing.config import EditorModel
from ldie.systems.editing.discriminator import Discriminator
from ldie.systems.editing.perceptual import PerceptualLoss
from ldie.systems.editing.pretrained import load_pretrained
from ldie.tasks.editing.words.vocabulary import Vocabulary
from safetensors.torch import save_file
from systems.editing.helpers import WORDS, tiny_config, tiny_editor
from torch import Tensor, nn

SMALL = {"scales": 2, "widths": [4, 6, 8], "text": 5, "hidden": 7}
GAN = {"model": {"discriminator": SMALL}, "solver": {"training": "gan"}}
VGG19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0)
"""Channels of torchvision's vgg19, configuration E; 0 is a pooling."""


def discriminator(**values) -> Discriminator:
    torch.manual_seed(0)
    config: EditorModel = tiny_config(
        model={"discriminator": SMALL | values, "language": {"layers": 2}}, solver={"training": "gan"}
    ).model
    return Discriminator(config, Vocabulary(WORDS))


def words() -> Tensor:
    return torch.tensor([[1, 5, 2, 0], [1, 6, 7, 2]])


@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("size", [(32, 32), (33, 33), (128, 128), (47, 30), (1, 1)])
def test_scores_and_features_of_every_scale(size: tuple[int, int], norm: str) -> None:
    """Convolutions of 4 x 4 with padding 2: n // 2 + 1 cells with stride 2, n + 1 without."""
    network = discriminator(normalization=norm)
    pictures = torch.rand(2, 2, 3, *size)
    judged = network(*pictures, network.read(words()))
    assert len(judged) == 2
    for judgement in judged:
        sides = list(size)
        assert [each.shape[1] for each in judgement.features] == [4, 6, 8, 7, 7]
        for index, feature in enumerate(judgement.features):
            sides = [side // 2 + 1 if index < 3 else side + 1 for side in sides]
            assert list(feature.shape[2:]) == sides
        assert list(judgement.scores.shape) == [2, 1, sides[0] + 1, sides[1] + 1]
        assert judgement.scores.isfinite().all()
        size = tuple((side + 1) // 2 for side in size)


def test_the_first_scale_against_plain_calls() -> None:
    network = discriminator().eval()
    source, picture = torch.rand(2, 2, 3, 20, 20)
    text = network.read(words())
    weights = dict(network.networks[0].named_parameters())

    def convolved(x: Tensor, name: str, stride: int) -> Tensor:
        return nn.functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, 2)

    x = nn.functional.leaky_relu(convolved(2 * torch.cat([source, picture], 1) - 1, "look.0.0", 2), 0.2)
    for name in ("look.1.0", "look.2.0"):
        x = convolved(x, name, 2)
        x = (x - x.mean((2, 3), True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = nn.functional.leaky_relu(x, 0.2)
    x = torch.cat([x, text[..., None, None] * torch.ones(1, 1, *x.shape[2:])], 1)
    for name in ("compare.0.0", "compare.1.0"):
        x = nn.functional.leaky_relu(convolved(x, name, 1), 0.2)
    torch.testing.assert_close(network(source, picture, text)[0].scores, convolved(x, "score", 1))


def test_the_second_scale_sees_a_mean_that_knows_no_padding() -> None:
    """A picture of one colour stays it, up to the border."""
    network = discriminator().eval()
    text = network.read(words())
    small = network(*torch.full((2, 2, 3, 32, 32), 0.7), text)[1]
    network.networks[0].load_state_dict(network.networks[1].state_dict())
    large = network(*torch.full((2, 2, 3, 16, 16), 0.7), text)[0]
    torch.testing.assert_close(small.scores, large.scores)


def test_the_request_counts_everywhere() -> None:
    """Also in the middle of large maps, where a norm behind it would leave of it what comes in from the borders."""
    network = discriminator().eval()
    source, picture = torch.rand(2, 1, 3, 128, 128).expand(-1, 2, -1, -1, -1)
    scores = network(source, picture, torch.randn(2, 5))[0].scores[:, 0]
    differences = (scores[0] - scores[1])[4:-4, 4:-4].abs()
    assert differences.mean() > 0.6 * scores.std()  # with a norm: 0.3


def test_it_is_part_of_the_editor_and_decides_nothing() -> None:
    model = tiny_editor(**GAN)
    names = {name for name in model.state_dict() if name.startswith("discriminator.")}
    assert names == {f"discriminator.{name}" for name in model.discriminator.state_dict()}
    deciding = {id(parameter) for parameter in model.editor_parameters()}
    assert not any(id(parameter) in deciding for parameter in model.discriminator.parameters())
    assert model.discriminator.language is not model.language
    assert tiny_editor().discriminator is None


def test_its_words_keep_their_meaning_in_another_vocabulary(tmp_path: Path) -> None:
    model, path = tiny_editor(**GAN), tmp_path / "other.safetensors"
    before = model.discriminator.language.embedding.words.detach().clone()
    facts = model.facts | {"vocabulary": model.facts["vocabulary"][::-1]}
    save_weights(path, model.state_dict(), Header("editing", {}, facts, 0))
    load_pretrained(model, path)
    assert torch.equal(model.discriminator.language.embedding.words, before.flip(0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"solver": {"training": "gan"}}, "scales must be at least 1"),
        ({"model": {"discriminator": SMALL}}, "scales must be 0"),
        (GAN | {"solver": {"training": "gan", "gan": {"perceptual": 10.0}}}, "must name a file"),
        (GAN | {"solver": {"training": "gan", "gan": {"perceptual_weights": "vgg.pth"}}}, "none where it is"),
        (
            {
                "model": {"discriminator": SMALL, "image": {"size": 8}},
                "solver": {"training": "gan", "gan": {"perceptual": 10.0, "perceptual_weights": "vgg.pth"}},
            },
            r"image\.size must be at least 16",
        ),
    ],
)
def test_keys_that_do_not_fit_together(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_editor(**values)


@pytest.fixture(scope="module")
def vgg() -> dict[str, Tensor]:
    """Random weights under torchvision's names, so that features stay of order 1; with a part of the classifier."""
    generator = torch.Generator().manual_seed(0)
    weights, inputs, index = {"classifier.6.bias": torch.zeros(1000)}, 3, 0
    for channels in VGG19:
        if not channels:
            index += 1
            continue
        scale = (2 / (9 * inputs)) ** 0.5
        weights[f"features.{index}.weight"] = scale * torch.randn(channels, inputs, 3, 3, generator=generator)
        weights[f"features.{index}.bias"] = 0.1 * torch.randn(channels, generator=generator)
        inputs, index = channels, index + 2
    return weights


def plain_distance(weights: dict[str, Tensor], pictures: Tensor, targets: Tensor) -> Tensor:
    """VGG19 written out, layer after layer."""
    x = torch.cat([pictures, targets])
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    x, index, total = (x - mean) / std, 0, torch.zeros(())
    block, seen = 1, False
    for channels in VGG19:
        if not channels:
            x, index, block, seen = nn.functional.max_pool2d(x, 2), index + 1, block + 1, False
            continue
        x = nn.functional.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1)
        x, index = x.relu(), index + 2
        if not seen:
            seen, (first, second) = True, x.chunk(2)
            total = total + {1: 1 / 32, 2: 1 / 16, 3: 1 / 8, 4: 1 / 4, 5: 1}[block] * (first - second).abs().mean()
        if block == 5:
            return total
    raise AssertionError


@pytest.mark.parametrize(("name", "write"), [("vgg.safetensors", save_file), ("vgg19-dcbb9e9d.pth", torch.save)])
def test_the_perceptual_loss_is_that_of_the_given_weights(
    vgg: dict[str, Tensor], tmp_path: Path, name: str, write: Callable
) -> None:
    write(vgg, tmp_path / name)
    loss = PerceptualLoss(tmp_path / name)
    pictures, targets = torch.rand(2, 2, 3, 20, 17)
    pictures.requires_grad_()
    targets.requires_grad_()
    expected = plain_distance(vgg, pictures, targets)
    torch.testing.assert_close(loss(pictures, targets), expected)
    loss(pictures, targets).backward()
    assert pictures.grad is not None and targets.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    torch.testing.assert_close(pictures.grad, torch.autograd.grad(expected, pictures)[0])
    assert loss(targets, targets) == 0


def test_other_weights_are_refused(vgg: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    with pytest.raises(CheckpointError, match=r"vgg\.pth: no readable weights"):
        PerceptualLoss(path)
    torch.save({name: value for name, value in vgg.items() if name != "features.28.bias"}, path)
    with pytest.raises(CheckpointError, match=r"torchvision's VGG19; missing or of another shape: features\.28\.bias;"):
        PerceptualLoss(path)
    torch.save(vgg | {"features.0.weight": torch.zeros(64, 1, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"another shape: features\.0\.weight;"):
        PerceptualLoss(path)
