"""Sequences of edits, a different one for each image, in one pass over the pixels."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from ldie_ext import _library
from ldie_ext._options import option_code
from ldie_ext._register import register
from ldie_ext.ops.editing._computed import computed_dtype, masks_in

__all__ = ["apply_edits"]

LAYOUTS = ("chw", "hwc")
Layout = Literal["chw", "hwc"]


def apply_edits(
    images: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None = None,
    mask_index: Tensor | None = None,
    exclusive: Tensor | None = None,
    *,
    layout: Layout = "chw",
) -> Tensor:
    """Applies to each image its own sequence of edits, all of them in one pass.

    Each step is ``y = clamp(M * f(x; p) + (1 - M) * x, 0, 1)``: blended first, clamped last; where M is 0 the pixel
    stays bit for bit as it is, and so does everything under ``NONE``. With ``V = max x`` and ``m = min x`` of a pixel's
    channels, ``l = .27 r + .67 g + .06 b``, and p the first parameters of the row, f is

    ==============  ==  ============================================================================================
    BRIGHTNESS       1  ``k x``, ``k = min(max(1 + p, 0), 1 / V)``: V of HSV times 1 + p
    CONTRAST         1  ``x (1 + p (g / (l + 1e-6) - 1))``, ``g = (1 - cos(pi l)) / 2``
    SATURATION       1  ``V - k (V - x)``, ``k = min(max(1 + p, 0), V / (V - m))``: S of HSV times 1 + p
    COLOR_CURVE     24  for each channel 8 weights t: ``8 / sum t * sum_i t_i clamp(x - i / 8, 0, 1 / 8)``
    TONE_CURVE       8  the same with one curve for all channels
    SHARPNESS        1  ``x + p (4 x - a)``, a the sum of the pixels beside, above and below; 0 beyond the image
    EXPOSURE         1  ``2 ** p x``
    BLACK_WHITE      1  ``x + p (l - x)``
    WHITE_BALANCE    3  ``p_c x_c``
    HUE              1  H of HSV turned by p of a full circle
    LIGHTNESS        1  L of HSL times 1 + p, at most 1
    BLUR             1  ``x + p (g - x)``, g the mean of 3 x 3 pixels by a Gaussian of sigma 2; 0 beyond the image
    EDGE             1  ``x + p (e - x)``, e the length of the Sobel gradient / 4; the border repeats beyond the image
    COLOR_BG         1  1, white; p is not used
    COLORIZE         1  H of HSV becomes p of a full circle: all hues become one
    ==============  ==  ============================================================================================

    ``ldie_ext.ops.editing.edit_op`` has each operator's limits, start and head as data. The HSV forms are written
    without a round trip, so that black and grey pixels are ordinary ones. Nothing of the images' size is kept
    for the backward but the images: steps are computed again.

    SHARPNESS, BLUR and EDGE act on each channel and read its neighbours as the step before has left them; pixels beyond
    the image are no part of any step. As in the original system, black is what SHARPNESS and BLUR see there, so that a
    border gets brighter or darker. EDGE is this library's: e is the height of a straight step between two pixels, and
    0 where the channel is flat, with the gradient 0. An image with stencils goes by tiles, each with as many pixels
    around it as there are stencils.

    Args:
        images: float [B, 3, H, W], RGB in [0, 1], or uint8 in [0, 255] in either layout. Values beyond give what the
            formulas give, clamped; a pixel with NaN is somewhere in [0, 1], never NaN, once a step acts on it.
        ops: int64 [B, K], numbers of :class:`EditOp`, at most 32 a sample, of them at most 8 SHARPNESS, BLUR and EDGE;
            pad with ``NONE``.
        params: float [B, K, 24], each operator's parameters from the first on; the rest is not read. Converted to
            float64 for images of float64, else to float32. A curve's weights must sum to more than 1e-6.
        masks: bool or float in [0, 1] [M, H, W], a pool that all samples choose from; floats are converted as params.
        mask_index: int64 [B, K], which mask a step has, -1: the whole image. Given with masks.
        exclusive: bool [B, K], whether a step acts outside of its mask, with 1 - M; without effect on the whole image.
        layout: 'chw', or 'hwc' for uint8 images [B, H, W, 3].

    Returns:
        The edited images, as images in shape and dtype, contiguous. 16-bit images are computed in float32, uint8 ones
        too, and rounded to the nearest level at the end alone. On the CPU what is wrong in ops, mask_index and curves
        is an error; on CUDA, where reading them would be a synchronisation, a step with no operator or no mask leaves
        the image as it is, a ninth stencil too, and a curve's sum counts as 1e-6.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit; on the CPU also an operator or mask that is not there, a
            curve without weight, or more than 8 stencils in a sample.
        ValueError: an unknown layout.

    Differentiable: once, in floating images and params; a gradient of masks or a second derivative raises. Where
    channels are equal, the gradient of their maximum and minimum is shared evenly, as by torch.amax; a clamp passes at
    the ends of its range. At grey pixels, which have no hue, that of HUE and COLORIZE is the mean over the channels.
    Deterministic: yes, and the parameters' gradients do not depend on the number of threads.

    Source: the operators of Shi et al., Learning by Planning: Language-Guided Global Image Editing, arXiv:2106.13156,
    and of Hu et al., Exposure, arXiv:1709.09602. Native code: csrc/editing/apply_edits.h

    Example:
        >>> images = torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1)
        >>> ops = torch.tensor([[ldie_ext.EditOp.BRIGHTNESS, ldie_ext.EditOp.SATURATION]])
        >>> params = torch.zeros(1, 2, 24)
        >>> params[0, :, 0] = torch.tensor([-0.5, 0.25])
        >>> apply_edits(images, ops, params).flatten()
        tensor([0.4000, 0.1500, 0.0250])
    """
    code = option_code("layout", layout, LAYOUTS)
    computed = computed_dtype(images)
    masks = masks_in(computed, masks)
    return _library.ops.apply_edits(images, ops, params.to(computed), masks, mask_index, exclusive, code)


def _fake(
    images: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None,
    mask_index: Tensor | None,
    exclusive: Tensor | None,
    layout: int,
) -> Tensor:
    return images.new_empty(images.shape)


def _fake_backward(
    grad: Tensor,
    images: Tensor,
    ops: Tensor,
    params: Tensor,
    masks: Tensor | None,
    mask_index: Tensor | None,
    exclusive: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return images.new_empty(images.shape), params.new_empty(params.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[3]:
        raise RuntimeError("ldie_ext.apply_edits is not differentiable in masks: detach them")
    images, params = _library.ops.apply_edits_backward(grad, *ctx.saved_tensors)
    return images, None, params, None, None, None, None


register("apply_edits", fake=_fake, setup_context=_setup_context, backward=_backward)
register("apply_edits_backward", fake=_fake_backward)
