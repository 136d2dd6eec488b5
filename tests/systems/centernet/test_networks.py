"""The full-size networks: layers counted by hand from the specification, shapes, variants of the discriminator."""

from __future__ import annotations

import pytest
import torch
from ldie.config import merge
from ldie.nn import DeformBlock
from ldie.systems.centernet.config import DetectorConfig, DiscriminatorConfig, ExtractorConfig
from ldie.systems.centernet.detector import Detector
from ldie.systems.centernet.discriminator import build_discriminator, gram_matrix
from ldie.systems.centernet.extractor import build_extractor
from ldie.systems.centernet.model import CenterNet
from ldie.systems.centernet.presets import PRESETS
from systems.centernet.helpers import make_batch, small_model, small_recipe
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


def conv(kernel: int, inputs: int, outputs: int) -> int:
    """Weights and biases of a convolution."""
    return kernel * kernel * inputs * outputs + outputs


def conv_bn(kernel: int, inputs: int, outputs: int) -> int:
    """Weights of a convolution without bias, and scale and shift of the batch norm after it."""
    return kernel * kernel * inputs * outputs + 2 * outputs


def extractor_parameters() -> int:
    stem = conv_bn(7, 3, 64)
    down = 2 * (conv(2, 64, 64) + conv_bn(3, 64, 64))
    up = 2 * (conv(2, 64, 64) + conv_bn(3, 128, 64))
    return stem + conv_bn(3, 64, 64) + down + up + conv_bn(3, 64, 64)


def detector_parameters(num_classes: int) -> int:
    stages = 4 * conv_bn(3, 64, 64)
    for inputs, outputs in ((64, 128), (128, 256), (256, 512)):
        stages += conv_bn(3, inputs, outputs) + 3 * conv_bn(3, outputs, outputs) + conv_bn(1, inputs, outputs)
    ups = sum(
        conv(3, deep, 27) + conv_bn(3, deep, shallow) + conv_bn(4, shallow, shallow)
        for deep, shallow in ((512, 256), (256, 128), (128, 64))
    )
    heads = sum(conv(3, 64, 64) + conv(1, 64, outputs) for outputs in (num_classes, 2, 2))
    return stages + ups + heads


def residual_parameters() -> int:
    return 11 * conv(3, 64, 64) + conv(3, 64, 3)


def style_parameters() -> int:
    return 11 * conv(3, 64, 64) + 4096 * 1000 + 1000 + 1000 * 3 + 3


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def full() -> CenterNet:
    return small_model(PRESETS["full"])


def test_parameters_of_the_full_networks(full):
    assert [count(extractor) for extractor in full.extractors.values()] == [extractor_parameters()] * 3
    assert count(full.detector) == detector_parameters(80)
    assert count(full.discriminator) == residual_parameters()
    style = build_discriminator(DiscriminatorConfig(type="style"), 64, 3)
    assert count(style) == style_parameters()
    assert count(build_discriminator(DiscriminatorConfig(type="residual_wo_padding"), 64, 3)) == residual_parameters()


def test_shapes_of_the_full_networks(full):
    """At the published batch of 32, without computing anything."""
    full.eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for (_, extractor), side in zip(full.extractors.items(), (512, 256, 128)):
            assert extractor(torch.empty(32, 3, side, side)).shape == (32, 64, 128, 128)
        features = torch.empty(32, 64, 128, 128)
        deep = features
        for stage, shape in zip(full.detector.stages, ((64, 128), (128, 64), (256, 32), (512, 16))):
            deep = stage(deep)
            assert deep.shape == (32, shape[0], shape[1], shape[1])
        assert [tuple(part.shape) for part in full.detector(features)] == [
            (32, 80, 128, 128), (32, 2, 128, 128), (32, 2, 128, 128)
        ]  # fmt: skip
        assert full.discriminator(features).shape == (32, 3, 128, 128)
        for kind, shape in (("residual_wo_padding", (32, 3, 104, 104)), ("style", (32, 3))):
            assert build_discriminator(DiscriminatorConfig(type=kind), 64, 3)(features).shape == shape


def test_full_detector_has_deformable_up_steps(full):
    blocks = [module for module in full.detector.modules() if isinstance(module, DeformBlock)]
    assert [tuple(block[0].conv.weight.shape) for block in blocks] == [
        (256, 512, 3, 3),
        (128, 256, 3, 3),
        (64, 128, 3, 3),
    ]
    assert all(not block[0].predict.weight.any() and not block[0].predict.bias.any() for block in blocks)


def test_new_deform_block_is_half_a_convolution():
    """Offsets start at 0 and weights at sigmoid(0) = 1/2."""
    block = DeformBlock(4, 6, "none", "relu")
    x = torch.randn(2, 4, 7, 9)
    expected = nn.functional.conv2d(x, block[0].conv.weight, padding=1) / 2 + block[0].conv.bias[:, None, None]
    torch.testing.assert_close(block(x), expected.relu(), rtol=1e-4, atol=1e-5)


def test_deform_block_moves_and_weights_its_taps():
    """The first 18 predictions are (y, x) of the taps, the last 9 their weights: here one row down, and all of it."""
    block = DeformBlock(4, 6, "none", "relu")
    with torch.no_grad():
        block[0].predict.bias[:18:2] = 1.0
        block[0].predict.bias[18:] = 50.0
    x = torch.randn(2, 4, 7, 9)
    below = nn.functional.pad(x, (1, 1, 0, 2))
    expected = nn.functional.conv2d(below, block[0].conv.weight, block[0].conv.bias)
    torch.testing.assert_close(block(x), expected.relu(), rtol=1e-4, atol=1e-5)


def test_deform_block_learns_its_offsets():
    block = DeformBlock(4, 6)
    nn.init.normal_(block[0].predict.weight, std=0.1)
    block(torch.randn(2, 4, 7, 9)).square().mean().backward()
    assert all(parameter.grad.any() for parameter in block.parameters())


@pytest.mark.parametrize("kind", ["unet", "stem"])
@pytest.mark.parametrize("down_ratio", [1, 2, 4, 8])
@pytest.mark.parametrize("image", [False, True])
def test_extractors_take_any_size(kind, down_ratio, image):
    extractor = build_extractor(ExtractorConfig(type=kind), down_ratio, 8, image).eval()
    features = extractor(torch.randn(1, 3, 21, 34))
    assert features.shape == (1, 3 if image else 8, -(-21 // down_ratio), -(-34 // down_ratio))


def test_the_stem_is_that_of_published_weights():
    """Names, shapes and arithmetic of CenterNet's ResNet-18 (resdcn18): 7 x 7 of stride 2, BN, ReLU, max-pooling."""
    stem = build_extractor(ExtractorConfig(type="stem", activation="relu"), 4, 64).eval()
    published = {"conv1.weight": torch.randn(64, 3, 7, 7) / 12}
    for name in ("weight", "bias", "running_mean"):
        published[f"bn1.{name}"] = torch.randn(64)
    published |= {"bn1.running_var": torch.rand(64) + 0.5, "bn1.num_batches_tracked": torch.tensor(0)}
    stem.load_state_dict(published)
    image = torch.randn(2, 3, 37, 64)
    x = nn.functional.conv2d(image, published["conv1.weight"], stride=2, padding=3)
    norm = [published[f"bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    expected = nn.functional.max_pool2d(nn.functional.batch_norm(x, *norm).relu(), 3, 2, 1)
    torch.testing.assert_close(stem(image), expected)


def test_a_model_of_stems():
    recipe = small_recipe(model={"extractor": {"type": "stem"}})
    names = {name.rpartition(".")[0] for name, _ in recipe.model.extractors.named_parameters()}
    assert names == {f"{scale}.{layer}" for scale in (0, 1, 2) for layer in ("conv1", "bn1")}
    terms = recipe.train_step(make_batch(recipe), 4)
    assert all(value.isfinite() for value in terms.values())
    assert all(parameter.grad is not None for parameter in recipe.model.extractors.parameters())
    assert len(recipe.model.eval().predict([torch.zeros(3, 40, 50, dtype=torch.uint8)])) == 1


@pytest.mark.parametrize("kind", ["resnet18", "skip"])
def test_detectors_take_any_size(kind):
    detector = Detector(DetectorConfig(type=kind, widths=(4, 6, 8), head_channel=4), 5, 3).eval()
    assert [tuple(part.shape) for part in detector(torch.randn(1, 5, 9, 14))] == [
        (1, 3, 9, 14), (1, 2, 9, 14), (1, 2, 9, 14)
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "adds"), [("resnet18", False), ("skip", True)])
def test_only_the_skip_detector_adds_the_way_down(kind, adds):
    """With its deepest features blanked out, a detector without skips sees nothing."""
    detector = Detector(DetectorConfig(type=kind, widths=(4, 6, 8), head_channel=4), 5, 3).eval()
    detector.stages[-1].register_forward_hook(lambda *call: torch.zeros_like(call[-1]))
    features = torch.randn(1, 5, 8, 8)
    assert torch.equal(detector(features).heatmap, detector(features + 1).heatmap) != adds


def test_heads_start_as_specified(full):
    assert (full.detector.heatmap[-1].bias == -2.19).all()
    for head in (full.detector.wh, full.detector.offset):
        assert head[-1].weight.std().item() == pytest.approx(0.001, rel=0.3)


def test_discriminator_without_padding_is_the_inside_of_the_padded_one():
    """12 layers of 3 x 3 cells carry the border 12 cells inwards, and no further."""
    options = {"hidden_channel": 4}
    padded, valid = (
        build_discriminator(DiscriminatorConfig(type=kind, **options), 5, 3).eval()
        for kind in ("residual", "residual_wo_padding")
    )
    valid.load_state_dict(padded.state_dict())
    features = torch.randn(2, 5, 31, 29)
    whole, inside = padded(features), valid(features)
    assert inside.shape == (2, 3, 7, 5)
    torch.testing.assert_close(inside, whole[:, :, 12:-12, 12:-12])


def test_gram_matrix():
    x = torch.randn(2, 3, 4, 5)
    expected = torch.einsum("bchw,bdhw->bcd", x, x) / (3 * 4 * 5)
    torch.testing.assert_close(gram_matrix(x), expected)


def test_style_discriminator_does_not_see_where():
    style = build_discriminator(DiscriminatorConfig(type="style", hidden_channel=4, blocks=1), 5, 3).eval()
    features = torch.randn(2, 5, 12, 12)
    padded = nn.functional.pad(features, (8, 8, 8, 8))
    moved = padded.roll((3, -4), (2, 3))
    torch.testing.assert_close(style(padded), style(moved))
    assert style(features).shape == (2, 3)


@pytest.mark.parametrize("kind", ["residual", "residual_wo_padding", "style"])
def test_every_convolution_of_a_discriminator_is_spectral(kind):
    network = build_discriminator(DiscriminatorConfig(type=kind, hidden_channel=4, blocks=2), 5, 3)
    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert len(layers) == {"residual": 6, "residual_wo_padding": 6, "style": 7}[kind]
    network.train()
    for _ in range(30):
        network(torch.randn(1, 5, 16, 16))
    assert all(
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05) for layer in layers
    )


def test_discriminator_looks_at_its_input_channels_only():
    config = merge(
        PRESETS["tiny"],
        {"model": {"detector": {"input_channel": 8}, "discriminator": {"input_channel": 3, "hidden_channel": 4}}},
    )
    model = small_model(config).eval()
    features = torch.randn(1, 8, 6, 6)
    changed = features.clone()
    changed[:, 3:] += 1
    assert torch.equal(model.scores(features), model.scores(changed))
    changed[:, :3] += 1
    assert not torch.equal(model.scores(features), model.scores(changed))
