# SPDX-License-Identifier: Apache-2.0
"""Distance of pictures as VGG19 sees them; only with its published weights, never with others in their place."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ldie.errors import CheckpointError, short
from ldie.nn.precision import full_precision
from ldie.weights import read_weights

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))
"""Channels, and convolutions up to the last feature that counts: the first of the fifth block."""
_WEIGHTS = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}
"""Of the features behind ``features.<n>``: the rectified first convolution of each block."""


class PerceptualLoss(nn.Module):
    r"""L1 distance of the features of VGG19 (pix2pixHD's VGG loss, arXiv:1711.11585, after arXiv:1603.08155).

    .. math:: \sum_{i=1}^{5} 2^{-(6 - i)} \text{ (and 1 for the last) } \cdot
              \text{mean} |\phi_i(x) - \phi_i(y)|, \quad \phi_i = \text{relu}i\_1

    The network does not learn. Pictures are normalised as torchvision's weights expect them.

    Args:
        path: File of torchvision's VGG19 weights, safetensors or what torch.save wrote; no code in it is run. Its
            classifier and last convolutions are not used.

    Raises:
        CheckpointError: The file cannot be read, or has other weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.features = _features()
        _load(self, path)
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """The distance of pictures [B, 3, H, W] from targets, RGB in [0, 1], sides of 16 or more.

        Returns:
            Scalar; differentiable in the pictures, not in the targets.
        """
        with torch.no_grad():
            wanted = self._seen(targets)
        distances = [
            weight * (full_precision(found) - full_precision(known)).abs().mean()
            for weight, found, known in zip(_WEIGHTS.values(), self._seen(pictures), wanted, strict=True)
        ]
        return torch.stack(distances).sum()

    def _seen(self, images: Tensor) -> list[Tensor]:
        x, seen = (images - self.mean) / self.std, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _WEIGHTS:
                seen.append(x)
        return seen


def _features() -> nn.Sequential:
    """VGG19's layers, numbered as torchvision's, without what is behind relu5_1."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels, count in _BLOCKS:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
    return nn.Sequential(*layers)


def _load(network: nn.Module, path: Path) -> None:
    weights, own = read_weights(path), network.state_dict()
    wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    if wrong:
        raise CheckpointError(
            f"{path}: solver.gan.perceptual_weights must be torchvision's VGG19; missing or of another shape: "
            f"{short(wrong)}; give the state_dict of torchvision.models.vgg19"
        )
    network.load_state_dict({name: weights[name] for name in own})
