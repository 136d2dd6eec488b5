"""The steps of an edit that apply_edits does not do: geometric ones, inpainting, and filters with a wide reach."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ldie_ext._options import option_code
from ldie_ext._public import shown
from ldie_ext.ops.editing import image_filters, warps
from ldie_ext.ops.editing.apply_edits import LAYOUTS, Layout
from ldie_ext.ops.editing.edit_op import LIMIT_SLACK, NUM_PARAMETERS
from ldie_ext.ops.editing.executor_operators import EXECUTOR_OPERATORS, ExecutorOperator
from ldie_ext.ops.editing.inpaint import Inpainter, OpenCVInpainter

__all__ = ["EditExecutor"]

_WHOLE_IMAGE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "ROTATE": warps.rotate,
        "FLIP": warps.flip,
        "CROP": warps.crop,
        "RADIAL_BLUR": image_filters.radial_blur,
        "FACET_BLUR": image_filters.facet_blur,
        "DENOISE": image_filters.denoise,
        "DEHAZE": image_filters.dehaze,
    }
)
_OBJECT: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"ROTATE_OBJ": warps.rotate_object, "FLIP_OBJ": warps.flip_object}
)


class EditExecutor:
    """Does those steps of an edit which are no operators of :func:`apply_edits`.

    A step is ``y = clamp(M * f(x; p) + (1 - M) * x, 0, 1)``, as there: blended first, clamped last; where M is 0 the
    pixel stays bit for bit as it is. The steps, their parameters and f:

    ============  ===================  ================================================================================
    ROTATE        angle [-pi, pi]      turned counter-clockwise about the middle; what comes from outside is black
    FLIP          axis 0 or 1          left and right change places, or top and bottom
    CROP          x1, y1, x2, y2       this box, in parts of the sides, becomes the whole image; its size stays
    ROTATE_OBJ    angle [-pi, pi]      what the mask holds, turned about the middle of its box, over the background
    FLIP_OBJ      axis 0 or 1          what the mask holds, mirrored in its box, over the background
    INPAINT_OBJ   none                 what the mask holds is replaced by the background
    RADIAL_BLUR   strength [0, .2]     mean of 16 samples from the pixel to this part of its way to the middle
    FACET_BLUR    radius 1, 2, 3 or 4  Kuwahara: the mean of the least varying of four squares of side radius + 1
    DENOISE       tolerance [0, .5]    bilateral: exp(-d^2 / 8 - |colours' difference|^2 / (2 p^2)) weighs 9 x 9 pixels
    DEHAZE        strength [0, 1]      dark channel: ``(x - A) / max(t, .1) + A``, ``t = 1 - .95 p min(x / A)`` over
                                       channels and 15 x 15 pixels; A: the mean where min(x) is among the top 1/1000
    ============  ===================  ================================================================================

    Warps are bilinear. The background of the three steps with an object is what the inpainter puts where the mask is
    above 0. ``EXECUTOR_OPERATORS`` in ``ldie_ext.ops.editing.executor_operators`` has their parameters as data.
    Deforming an object, a label of the original annotations, is not done: what it does was never defined.

    Args:
        inpainter: from float images [B, 3, H, W] in [0, 1] and bool holes [B, 1, H, W] to images like these, with the
            holes filled; what it makes of the rest is not used. Called without gradients. By default
            :class:`OpenCVInpainter`, which needs OpenCV once it is called; a learned generator takes its place.
            An executor loads nothing when it is made.

    Source: tables of Shi et al., A Benchmark and Baseline for Language-Driven Image Editing, arXiv:2010.02330, name the
    steps and do not define them. Facets: Kuwahara et al., 1976. Bilateral filter: Tomasi and Manduchi, 1998. Dark
    channel: He et al., Single Image Haze Removal Using Dark Channel Prior, 2009, without its soft matting.

    Example:
        >>> images = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 3, 1, 4)
        >>> EditExecutor().apply(images, "FLIP", 0)[0, 0]
        tensor([[1.0000, 0.5000, 0.2500, 0.0000]])
    """

    def __init__(self, inpainter: Inpainter | None = None) -> None:
        if inpainter is not None and not callable(inpainter):
            raise TypeError(f"inpainter must be a function of images and holes, got {shown(inpainter)}")
        self.inpainter: Inpainter = OpenCVInpainter() if inpainter is None else inpainter

    def apply(
        self,
        images: Tensor,
        step: str,
        params: Tensor | Iterable[float] | float | None = None,
        mask: Tensor | None = None,
        *,
        exclusive: bool = False,
        layout: Layout = "chw",
    ) -> Tensor:
        """One step, on all images.

        Args:
            images: float [B, 3, H, W], RGB in [0, 1], or uint8 in [0, 255] in either layout.
            step: its name.
            params: [n] for all images or [B, n], n as the step has; a row of 24, of which n are read, is taken too.
                Without them, those that begin a search.
            mask: bool or float in [0, 1], [H, W] for all images or [B, H, W]; the whole image without it.
            exclusive: whether the step acts outside of the mask, with 1 - M.
            layout: 'chw', or 'hwc' for uint8 images [B, H, W, 3].

        Returns:
            The edited images, as images in shape and dtype. 16-bit ones are computed in float32, uint8 ones too, and
            rounded to the nearest level. Images without pixels stay as they are.

        Raises:
            ValueError: an unknown step or layout, a parameter out of its range, a box without extent, a shape or dtype
                that does not fit, an object without a mask, an inpainter's result of another shape.
            ModuleNotFoundError: OpenCV is needed and not installed.

        Differentiable: in floating images, by torch; what is inpainted, which square FACET_BLUR takes and where DEHAZE
        looks for A are constants. In the params of RADIAL_BLUR, DENOISE and DEHAZE, as ``differentiable`` of their
        operators tells; those of ROTATE, CROP and ROTATE_OBJ have the gradients of torch's affine_grid, which lead no
        search anywhere. Masks have no gradient.
        Deterministic: yes; the gradients of warps on CUDA are those of torch's grid_sample, which are not. Parameters
        on CUDA are read on the host.
        """
        operator = _operator(step)
        option_code("layout", layout, LAYOUTS)
        planar = _planar(images, layout)
        x = planar.to(torch.float64 if planar.dtype == torch.float64 else torch.float32)
        if planar.dtype == torch.uint8:
            x = x / 255
        given = _params(operator, params, x)
        weights = _weights(operator, mask, exclusive, x)
        edited, touched = self._blended(operator.name, x, given, weights)
        result = edited.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)
        if touched is not None:
            result = torch.where(touched, result, x)
        if planar.dtype == torch.uint8:
            result = (result * 255 + 0.5).floor()
        result = result.to(planar.dtype)
        return (result.permute(0, 2, 3, 1) if layout == "hwc" else result).contiguous()

    def _blended(self, step: str, x: Tensor, params: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The step blended with the image, and where it acts, if not everywhere."""
        if mask is None:
            return _WHOLE_IMAGE[step](x, params), None
        touched = mask > 0
        if step in _WHOLE_IMAGE:
            return mask * _WHOLE_IMAGE[step](x, params) + (1 - mask) * x, touched
        background = mask * self._inpainted(x, touched) + (1 - mask) * x
        if step == "INPAINT_OBJ":
            return background, touched
        layers = _OBJECT[step](torch.cat([torch.where(touched, mask * x, 0), mask], 1), mask, params)
        colours, cover = layers.split([3, 1], 1)
        return colours + (1 - cover) * background, touched | (cover > 0)

    def _inpainted(self, x: Tensor, holes: Tensor) -> Tensor:
        if x.numel() == 0:
            return x
        with torch.no_grad():
            filled = self.inpainter(x.detach().nan_to_num(0.0, 1.0, 0.0).clamp(0, 1), holes)
        if not isinstance(filled, Tensor) or filled.shape != x.shape or not filled.is_floating_point():
            raise ValueError(f"inpainter must return float images {list(x.shape)}, got {shown(filled)}")
        return filled.to(x)


def _operator(step: str) -> ExecutorOperator:
    if step in EXECUTOR_OPERATORS:
        return EXECUTOR_OPERATORS[step]
    near = difflib.get_close_matches(str(step).upper(), EXECUTOR_OPERATORS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"step must be one of {', '.join(EXECUTOR_OPERATORS)}, got {step!r}{hint}")


def _planar(images: Tensor, layout: Layout) -> Tensor:
    """The images [B, 3, H, W], as a view."""
    if not isinstance(images, Tensor) or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ValueError(f"images must be float or uint8, got {shown(images)}")
    if layout == "hwc" and images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 where channels come last, got {shown(images)}")
    planar = images.permute(0, 3, 1, 2) if layout == "hwc" and images.dim() == 4 else images
    if planar.dim() != 4 or planar.shape[1] != 3:
        raise ValueError(f"images must have shape {'[B, H, W, 3]' if layout == 'hwc' else '[B, 3, H, W]'}, "
                         f"got {shown(images)}")  # fmt: skip
    return planar


def _params(operator: ExecutorOperator, params: Tensor | Iterable[float] | float | None, x: Tensor) -> Tensor:
    """The parameters [B, n], checked."""
    try:
        given = operator.row() if params is None else torch.as_tensor(params)
        given = given.to(device=x.device, dtype=x.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"params of {operator.name} must be numbers, got {shown(params)}") from error
    given = given[None] if given.dim() == 0 else given
    if given.shape[-1] not in (operator.parameters, NUM_PARAMETERS) or given.shape[:-1] not in ((), (len(x),)):
        raise ValueError(
            f"params of {operator.name} must have shape [{operator.parameters}] or [B, {operator.parameters}] "
            f"with {len(x)} images, got {list(given.shape)}"
        )
    given = given[..., : operator.parameters].expand(len(x), -1)
    for column, limits in zip(given.detach().double().cpu().unbind(1), operator.limits, strict=True):
        wrong = ~((column >= limits.low - LIMIT_SLACK) & (column <= limits.high + LIMIT_SLACK))
        if limits.whole:
            wrong |= column != column.round()
        if bool(wrong.any()):
            kind = "a whole number" if limits.whole else "a number"
            raise ValueError(f"params of {operator.name}: {limits.name} must be {kind} from {limits.low:g} to "
                             f"{limits.high:g}, got {float(column[wrong][0]):g}")  # fmt: skip
    return given


def _weights(operator: ExecutorOperator, mask: Tensor | None, exclusive: bool, x: Tensor) -> Tensor | None:
    """How much of the step a pixel gets, [B, 1, H, W]."""
    if mask is None:
        if operator.needs_mask:
            raise ValueError(f"mask must be given for {operator.name}: it names the object")
        return None
    sizes = [x.shape[2:], (len(x), *x.shape[2:])]
    if not isinstance(mask, Tensor) or tuple(mask.shape) not in [tuple(size) for size in sizes]:
        raise ValueError(f"mask must have shape [H, W] or [B, H, W] of the images, {list(sizes[1])}, got {shown(mask)}")
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise ValueError(f"mask must be bool or float, got {shown(mask)}")
    weights = mask.detach().to(x).expand(sizes[1])[:, None]
    return 1 - weights if exclusive else weights
