"""apply_edits: five pointwise steps on a batch of small images, and on one photograph of 24 megapixels."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable

import harness
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp

BATCH, SIDE = 64, 128
CHAIN = [EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.COLOR_CURVE, EditOp.TONE_CURVE]
PHOTOGRAPH = (4000, 6000)
TABLE = 33  # colours of a table's side, as photo tools have them

try:
    import cv2
except ModuleNotFoundError:
    cv2 = None


def brightness(x: Tensor, p: Tensor) -> Tensor:
    return torch.minimum((1 + p).clamp(min=0), 1 / x.amax(1, keepdim=True).clamp(min=1e-12)) * x


def contrast(x: Tensor, p: Tensor) -> Tensor:
    light = (0.27 * x[:, :1] + 0.67 * x[:, 1:2] + 0.06 * x[:, 2:]).clamp(0, 1)
    return (x * (1 + p * ((1 - torch.cos(math.pi * light)) / 2 / (light + 1e-6) - 1))).clamp(0, 1)


def saturation(x: Tensor, p: Tensor) -> Tensor:
    value = x.amax(1, keepdim=True)
    chroma = value - x.amin(1, keepdim=True)
    return value - torch.minimum((1 + p).clamp(min=0), value / chroma.clamp(min=1e-12)) * (value - x)


def curve(x: Tensor, weights: Tensor) -> Tensor:
    """Picks the piece of each pixel; weights [B, 1 or 3, 8]."""
    total, place = weights.sum(-1, keepdim=True), torch.arange(8, dtype=x.dtype, device=x.device)
    offsets = (weights.cumsum(-1) - weights - weights * place) / total
    piece = (x.detach() * 8).clamp(max=7).long().flatten(2)
    rows = [each.expand(len(x), 3, 8) for each in (offsets, 8 * weights / total)]
    return torch.gather(rows[0], 2, piece).view_as(x) + torch.gather(rows[1], 2, piece).view_as(x) * x


def clamped_curve(x: Tensor, weights: Tensor) -> Tensor:
    """Without picks: what a compiler makes one loop of."""
    parts = [(x - i / 8).clamp(0, 1 / 8) * weights[:, :, i, None, None] for i in range(8)]
    return sum(parts[1:], parts[0]) * (8 / weights.sum(-1))[:, :, None, None]


def composed(x: Tensor, params: Tensor, curve: Callable[[Tensor, Tensor], Tensor] = curve) -> Tensor:
    """CHAIN alone, the same for the whole batch; ours takes other steps for each image at the same price."""
    scalars = params[:, :3, :1, None, None].unbind(1)
    x = saturation(contrast(brightness(x, scalars[0]), scalars[1]), scalars[2])
    return curve(curve(x, params[:, 3].unflatten(1, (3, 8))), params[:, 4:, :8])


@torch.compile(dynamic=False)
def compiled(x: Tensor, params: Tensor) -> Tensor:
    return composed(x, params, clamped_curve)


def random_params(batch: int, device: torch.device) -> Tensor:
    params = torch.zeros(batch, 5, 24, device=device)
    params[:, :3, 0] = torch.rand(batch, 3, device=device) * 0.8 - 0.4
    params[:, 3:] = (torch.rand(batch, 2, 24, device=device) - 0.5).exp()
    return params


@pytest.mark.parametrize("form", ["eager", "compiled"])
@pytest.mark.parametrize("what", ["forward", "forward and backward"])
def bench_apply_edits(measure: harness.Measure, what: str, form: str) -> None:
    """The composed form as it stands, and compiled; steps of one order, which a compiler knows beforehand."""
    if form == "compiled" and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch.compile finds no C++ compiler here")
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=measure.device)
    ops = torch.tensor([CHAIN] * BATCH, device=measure.device)
    params = random_params(BATCH, measure.device)
    grad = torch.rand_like(images)
    backward = what != "forward"
    if backward:
        images.requires_grad_()
        params.requires_grad_()

    def step(function: Callable[[], Tensor]) -> Callable[[], object]:
        return (lambda: torch.autograd.grad(function(), (images, params), grad)) if backward else function

    other = compiled if form == "compiled" else composed
    other_step = step(lambda: other(images, params))
    if form == "compiled":
        other_step()  # compiles
    measure(
        f"{BATCH} x 128 x 128, five steps, {what}" + (", composed form compiled" if form == "compiled" else ""),
        ours=step(lambda: ldie_ext.apply_edits(images, ops, params)),
        composed=other_step,
        read_bytes=(3 if backward else 1) * images.nbytes,
        written_bytes=(2 if backward else 1) * images.nbytes,
        memory=form == "eager",
    )


def sharpness(x: Tensor, p: Tensor) -> Tensor:
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], device=x.device).expand(3, 1, 3, 3)
    return (x + p * torch.nn.functional.conv2d(x, kernel, padding=1, groups=3)).clamp(0, 1)


def bench_sharpness(measure: harness.Measure) -> None:
    """A stencil in the middle: tiles with a halo, where the composed form stores each step's image."""
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=measure.device, requires_grad=True)
    steps = [EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SHARPNESS, EditOp.SATURATION]
    ops = torch.tensor([steps] * BATCH, device=measure.device)
    params = random_params(BATCH, measure.device)[:, :4].abs().requires_grad_()
    grad = torch.rand_like(images)

    def composed_form() -> Tensor:
        scalars = params[:, :, :1, None, None].unbind(1)
        return saturation(sharpness(contrast(brightness(images, scalars[0]), scalars[1]), scalars[2]), scalars[3])

    measure(
        f"{BATCH} x 128 x 128, four steps with sharpness, forward and backward",
        ours=lambda: torch.autograd.grad(ldie_ext.apply_edits(images, ops, params), (images, params), grad),
        composed=lambda: torch.autograd.grad(composed_form(), (images, params), grad),
        read_bytes=3 * images.nbytes,
        written_bytes=2 * images.nbytes,
    )


def bench_copy(measure: harness.Measure) -> None:
    """What a forward call cannot do without, into memory that is there: to be read beside the rows above."""
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=measure.device)
    out = torch.empty_like(images)
    measure(
        f"{BATCH} x 128 x 128, a copy",
        ours=lambda: out.copy_(images),
        read_bytes=images.nbytes,
        given_output=True,
    )


def photograph(device: torch.device) -> Tensor:
    """Colours that change slowly, with some noise, as photographs' do; uint8 [1, H, W, 3]."""
    colours = torch.nn.functional.interpolate(torch.rand(1, 3, 40, 60, device=device), PHOTOGRAPH, mode="bilinear")
    colours += 0.02 * torch.randn_like(colours)
    return (colours.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("peer", ["OpenCV", "Pillow", "torchvision"])
def bench_photograph(measure: harness.Measure, peer: str) -> None:
    """Peers that do the same steps, the first by HSV and tables of a channel, the second by a table of colours.

    torchvision has no curves: its brightness, contrast and saturation, which are other formulas, and a gamma.
    """
    images = photograph(measure.device)
    ops = torch.tensor([CHAIN], device=measure.device)
    params = random_params(1, measure.device)
    layout = "chw" if peer == "torchvision" else "hwc"
    given = images.permute(0, 3, 1, 2).contiguous() if layout == "chw" else images
    details = {
        "OpenCV": "OpenCV's HSV and tables",
        "Pillow": f"Pillow's Color3DLUT of {TABLE}",
        "torchvision": "torchvision.transforms.v2, a gamma for both curves",
    }
    measure(
        f"24 megapixels uint8 {layout}, five steps, {details[peer]}",
        ours=lambda: ldie_ext.apply_edits(given, ops, params, layout=layout),
        peer=torchvision_route(given, params) if peer == "torchvision" else None,
        host_peer={"OpenCV": opencv_route, "Pillow": pillow_route}[peer](images, params)
        if peer != "torchvision"
        else None,
        read_bytes=images.nbytes,
        memory=peer == "OpenCV",
    )


def opencv_route(images: Tensor, params: Tensor) -> Callable[[], object] | None:
    """Brightness and saturation as tables in HSV, contrast as one of a grey pixel, and the curves as tables."""
    if cv2 is None:
        return None
    levels = torch.arange(256) / 255
    gains = [(levels * (1 + float(params[0, k, 0])) * 255 + 0.5).clamp(0, 255) for k in (2, 0)]
    hsv_table = torch.stack([torch.arange(256), *gains], 1).byte().view(1, 256, 3).numpy()
    grey, params = levels.view(1, 1, -1, 1).expand(1, 3, -1, 1), params.cpu()
    grey = contrast(grey, params[:, 1, :1, None, None])
    table = clamped_curve(clamped_curve(grey, params[:, 3].view(1, 3, 8)), params[:, 4:, :8])
    rgb_table = (table[0, :, :, 0] * 255 + 0.5).byte().t().contiguous().view(1, 256, 3).numpy()
    picture = images[0].cpu().numpy()

    def edit() -> object:
        cv2.setNumThreads(torch.get_num_threads())
        hsv = cv2.LUT(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV), hsv_table)
        return cv2.LUT(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), rgb_table)

    return edit


def pillow_route(images: Tensor, params: Tensor) -> Callable[[], object]:
    """The chain of every colour of a cube, between which Pillow interpolates."""
    axis = torch.linspace(0, 1, TABLE)
    blue, green, red = torch.meshgrid(axis, axis, axis, indexing="ij")
    colours = ldie_ext.apply_edits(
        torch.stack([red, green, blue]).view(1, 3, TABLE, -1), torch.tensor([CHAIN]), params.cpu()
    )
    table = ImageFilter.Color3DLUT(TABLE, colours.view(3, -1).t().flatten().tolist())
    picture = Image.fromarray(images[0].cpu().numpy())
    return lambda: picture.filter(table)


def torchvision_route(images: Tensor, params: Tensor) -> Callable[[], object] | None:
    if harness.torchvision is None:
        return None
    from torchvision.transforms.v2 import functional

    factors = (1 + params[0, :3, 0]).tolist()

    def edit() -> object:
        edited = functional.adjust_brightness(images, factors[0])
        edited = functional.adjust_contrast(edited, factors[1])
        return functional.adjust_gamma(functional.adjust_saturation(edited, factors[2]), 1.2)

    return edit
