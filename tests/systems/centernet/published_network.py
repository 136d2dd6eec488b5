"""CenterNet's published ResNet-18 (resdcn18) in plain PyTorch, under its published names: a reference for ours."""

from __future__ import annotations

import torch
from reference.conv import deform_conv2d
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu()


class Deform(nn.Module):
    """Offsets in two thirds of the 27 outputs, then the weights; with a bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / (3 * inputs**0.5))
        self.bias = nn.Parameter(torch.randn(outputs))
        self.conv_offset_mask = nn.Conv2d(inputs, 27, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first, second, mask = self.conv_offset_mask(x).chunk(3, 1)
        offset = torch.cat((first, second), 1)
        return deform_conv2d(x, offset, self.weight, self.bias, padding=(1, 1), mask=mask.sigmoid())


class PublishedNetwork(nn.Module):
    """Images [B,3,H,W], H and W multiples of 32 -> ``hm``, ``wh`` and ``reg`` at a quarter of the size."""

    def __init__(self, num_classes: int = 80) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for n, outputs in enumerate((64, 128, 256, 512), start=1):
            blocks = Block(inputs, outputs, 1 if n == 1 else 2), Block(outputs, outputs, 1)
            self.add_module(f"layer{n}", nn.Sequential(*blocks))
            inputs = outputs
        layers: list[nn.Module] = []
        for outputs in (256, 128, 64):
            layers += [Deform(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.ConvTranspose2d(outputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.deconv_layers = nn.Sequential(*layers)
        for name, outputs in (("hm", num_classes), ("wh", 2), ("reg", 2)):
            head = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, outputs, 1))
            self.add_module(name, head)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        for n in range(1, 5):
            x = self.get_submodule(f"layer{n}")(x)
        x = self.deconv_layers(x)
        return {name: self.get_submodule(name)(x) for name in ("hm", "wh", "reg")}


def random_network(num_classes: int = 80) -> PublishedNetwork:
    """In eval mode, with norms that have seen data and biases that matter."""
    torch.manual_seed(5)
    network = PublishedNetwork(num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def published_results(network: PublishedNetwork, image: Tensor, count: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [K,4], scores and labels that the published test (resolution kept) finds in an image [3,H,W], RGB."""
    height, width = image.shape[1:]
    rows, columns = (height | 31) + 1, (width | 31) + 1
    top, left = rows // 2 - height // 2, columns // 2 - width // 2
    canvas = torch.zeros(3, rows, columns, dtype=torch.float64)
    canvas[:, top : top + height, left : left + width] = image.flip(0)
    mean = torch.tensor([0.40789654, 0.44719302, 0.47026115], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.28863828, 0.27408164, 0.27809835], dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        maps = network((((canvas / 255 - mean) / std).float())[None])
    heat = maps["hm"][0].sigmoid()
    heat = heat * (nn.functional.max_pool2d(heat, 3, 1, 1) == heat)
    scores, index = heat.flatten().topk(count)
    labels, cell = index // heat[0].numel(), index % heat[0].numel()
    y, x = cell // heat.shape[2], cell % heat.shape[2]
    wh, offset = (maps[name][0].flatten(1)[:, cell].T for name in ("wh", "reg"))
    centers = torch.stack((x, y), 1) + offset
    boxes = torch.cat((centers - wh / 2, centers + wh / 2), 1) * 4 - torch.tensor([left, top, left, top])
    return boxes, scores, labels
