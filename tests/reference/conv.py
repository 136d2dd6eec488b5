"""References of the conv family: deformable convolution, one tap at a time."""

import torch
from torch import Tensor


def bilinear(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Samples images [N, C, H, W] at places y, x [N, ...] in pixels -> [N, C, ...], 0 outside; differentiable."""
    batch, _, height, width = images.shape
    known = y.isfinite() & x.isfinite() & (y.abs() < 1e6) & (x.abs() < 1e6)
    y, x = (torch.where(known, place, torch.full_like(place, -9)) for place in (y, x))
    top, left = y.detach().floor(), x.detach().floor()
    image = torch.arange(batch, device=images.device).reshape(-1, *[1] * (y.dim() - 1))
    total = 0
    for row, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            valid = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = images[image, :, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
            value = torch.where(valid[..., None], pixel, torch.zeros_like(pixel))
            total = total + value.movedim(-1, 1) * (weight_y * weight_x)[:, None]
    return total


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Sum over taps of a 1 x 1 grouped convolution of the samples (Dai et al. 2017; Zhu et al. 2019)."""
    batch, channels = input.shape[:2]
    _, group_channels, kernel_height, kernel_width = weight.shape
    taps, (out_height, out_width) = kernel_height * kernel_width, offset.shape[2:]
    parts = offset.shape[1] // (2 * taps)
    shifts = offset.reshape(batch, parts, taps, 2, out_height, out_width)
    grid_y = (torch.arange(out_height, device=input.device) * stride[0] - padding[0]).to(input.dtype)[:, None]
    grid_x = (torch.arange(out_width, device=input.device) * stride[1] - padding[1]).to(input.dtype)
    output = torch.zeros(batch, len(weight), out_height, out_width, dtype=input.dtype, device=input.device)
    for tap in range(taps):
        row, column = divmod(tap, kernel_width)
        samples = []
        for part, images in enumerate(input.chunk(parts, dim=1)):
            y = grid_y + row * dilation[0] + shifts[:, part, tap, 0]
            x = grid_x + column * dilation[1] + shifts[:, part, tap, 1]
            sample = bilinear(images, y, x)
            samples.append(sample if mask is None else sample * mask[:, None, part * taps + tap])
        output = output + torch.nn.functional.conv2d(
            torch.cat(samples, dim=1), weight[:, :, row, column, None, None], groups=channels // group_channels
        )
    return output if bias is None else output + bias[:, None, None]
