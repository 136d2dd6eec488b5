"""Reference of gated_conv: the convolution of explicitly multiplied maps."""

import torch
from torch import Tensor


def gated_conv(gates: Tensor, responses: Tensor) -> Tensor:
    """Each tap's product of gate and response, shifted to the cells whose window the tap is in."""
    height, width = gates.shape[2:]
    side = round(responses.shape[2] ** 0.5)
    radius = side // 2
    products = gates[:, :, None, None] * responses[:, None]  # [B, A, O, K * K, h, w]
    padded = torch.nn.functional.pad(products, (radius, radius, radius, radius))
    output = products.new_zeros(*products.shape[:3], height, width)
    for k in range(side * side):
        top, left = divmod(k, side)
        output = output + padded[:, :, :, k, top : top + height, left : left + width]
    return output


def responses_of(features: Tensor, weight: Tensor) -> Tensor:
    """What features [B,C,h,w] give to each tap of a weight [O,C,K,K]: [B,O,K*K,h,w]."""
    outputs, channels, side, _ = weight.shape
    taps = weight.permute(0, 2, 3, 1).reshape(outputs * side * side, channels, 1, 1)
    return torch.nn.functional.conv2d(features, taps).unflatten(1, (outputs, side * side))


def conv_of_multiplied(gates: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """The same as gated_conv of these responses, the long way: [B,A,O,h,w]."""
    multiplied = (gates[:, :, None] * features[:, None]).flatten(0, 1)
    output = torch.nn.functional.conv2d(multiplied, weight, padding=weight.shape[-1] // 2)
    return output.unflatten(0, gates.shape[:2])
