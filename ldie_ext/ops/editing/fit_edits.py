"""The parameters with which sequences of edits make one image another, for many images and sequences at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ldie_ext.ops.editing import levenberg_marquardt, nelder_mead
from ldie_ext.ops.editing._computed import computed_dtype, masks_in
from ldie_ext.ops.editing.edit_normal_equations import MOST_STEPS, Candidates
from ldie_ext.ops.editing.edit_op import NUM_PARAMETERS
from ldie_ext.ops.editing.fit_columns import MOST_STARTS, Columns

__all__ = ["EditFit", "fit_edits"]

METHODS = ("auto", "levenberg_marquardt", "nelder_mead")
Method = Literal["auto", "levenberg_marquardt", "nelder_mead"]

#: Of a start on each scale, and of a start for each unknown.
EVALUATIONS, SIMPLEX_EVALUATIONS = 60, 200


@dataclass(frozen=True)
class EditFit:
    """What was found for P sequences of K edits on each of B pairs of images.

    Attributes:
        params: float [B, P, K, 24], as apply_edits takes them; float64 for images of float64, else float32.
        distance: of the params' dtype [B, P], the mean of |edited - target| over all pixels and channels.
        evaluations: int64 [B, P], how often a sequence was run, all starts and scales together.
    """

    params: Tensor
    distance: Tensor
    evaluations: Tensor


@torch.no_grad()
def fit_edits(
    images: Tensor,
    targets: Tensor,
    ops: Tensor,
    masks: Tensor | None = None,
    mask_index: Tensor | None = None,
    exclusive: Tensor | None = None,
    *,
    method: Method = "auto",
    init: Tensor | None = None,
    starts: int = 1,
    max_evaluations: int | None = None,
    huber: float | None = None,
) -> EditFit:
    """Finds for each of P sequences of edits the parameters that bring an image nearest to its target.

    All parameters of a sequence are fitted together: with r = edited - target it descends on ``sum r ** 2 / 2``, or on
    Huber's loss, ``|r| <= huber: r ** 2 / 2, beyond: huber (|r| - huber / 2)``. All B x P problems go at once, each at
    its own pace, by the steps of Levenberg and Marquardt on the normal equations, which one pass over the pixels makes
    without an image of the derivatives in memory. The first steps see some 2,048 pixels - whole runs of 128 of them,
    never a smaller image - and later ones more, at last all. Several starts are told apart on the first scale, and the
    best goes on.

    Parameters are looked for between limits (``ldie_ext.ops.editing.fit_columns.LIMITS``): a step ends at them. Curves,
    which are the same when all weights grow by one factor, come with weights from 0 on that sum to 8.

    Stencils - SHARPNESS, BLUR, EDGE - may stand anywhere; derivatives go through them as images of a tile. What is
    found is a minimum nearby: with ``starts=1`` it may not be the best, above all of two curves in one sequence. A
    small distance does not mean that the operators are those that made the target. The host reads once how many
    parameters the longest sequence has, and every few steps whether all have ended.

    Args:
        images: float [B, 3, H, W], RGB in [0, 1], or uint8 in [0, 255].
        targets: as images in shape; float or uint8.
        ops: int64 [B, P, K], numbers of :class:`EditOp`, at most 8 a sequence; pad with ``NONE``.
        masks: bool or float [M, H, W], a pool that all sequences choose from.
        mask_index: int64 [B, P, K], which mask a step has, -1: the whole image. Given with masks.
        exclusive: bool [B, P, K], whether a step acts outside of its mask.
        method: 'levenberg_marquardt', which 'auto' takes, or 'nelder_mead': the simplex of the original planner, on
            ``mean |r|`` of one sequence at a time, slow and for comparison.
        init: float [B, P, K, 24], where the first start begins, 0 in place of NaN; by default where the
            operators leave an image as it is.
        starts: how many starts of a fixed list are tried, 1 to 7; the second and third are both signs of brightness.
        max_evaluations: the most for each start on each scale, 60 by default; of the simplex for each start, 200 for
            each unknown.
        huber: the size of a residual from which on the loss is linear, such as 0.02: for targets of which a part is
            something else. None: squares.

    Returns:
        :class:`EditFit`. Parameters that an operator does not use are 0. Without sequences its tensors are empty;
        without pixels distances are 0. NaN in a target, or in an image where no step acts, makes the distance NaN and
        the parameters those of a start. On CUDA, where ops are not read, a step with no operator has no effect.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit; on the CPU also an operator or mask that is not there.
        ValueError: an unknown method, starts or max_evaluations out of range, a huber that is not above 0.

    Differentiable: no; the result is a constant.
    Deterministic: yes, and it does not depend on the number of threads.

    Source: Marquardt, An algorithm for least-squares estimation of nonlinear parameters, SIAM 1963; Nelder and Mead, A
    simplex method for function minimization, 1965. Native code: csrc/editing/edit_normal_equations.h

    Example:
        >>> image = torch.linspace(0.1, 0.6, 3 * 16 * 16).view(1, 3, 16, 16)
        >>> ops = torch.tensor([[[ldie_ext.EditOp.BRIGHTNESS], [ldie_ext.EditOp.EXPOSURE]]])
        >>> fit = fit_edits(image, 1.5 * image, ops)
        >>> fit.params[..., 0, 0]
        tensor([[0.5000, 0.5850]])
        >>> (fit.distance < 1e-6).all()
        tensor(True)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    if not 1 <= starts <= MOST_STARTS:
        raise ValueError(f"starts must be 1 to {MOST_STARTS}, got {starts}")
    if max_evaluations is not None and max_evaluations < 1:
        raise ValueError(f"max_evaluations must be at least 1, got {max_evaluations}")
    if huber is not None and not huber > 0:
        raise ValueError(f"huber must be above 0, got {huber}")
    if huber is not None and method == "nelder_mead":
        raise ValueError("huber belongs to least squares, but method is 'nelder_mead'")
    candidates = _candidates(images, targets, ops, masks, mask_index, exclusive, huber)
    size = ops.shape
    if init is not None and init.shape != (*size, NUM_PARAMETERS):
        raise RuntimeError(f"fit_edits: init must have shape [B, P, K, 24] as ops, got {list(init.shape)}")
    if init is not None:
        init = init.nan_to_num()
    flat = ops.flatten(0, 1)
    columns = Columns.of(flat)
    candidates = replace(candidates, stencils=columns.stencils)
    begin = [columns.starts(flat, number) for number in range(starts)]
    if init is not None:
        begin[0] = columns.inside(columns.gather(init.flatten(0, 1)))
    run = nelder_mead.fit if method == "nelder_mead" else levenberg_marquardt.fit
    default = SIMPLEX_EVALUATIONS * max(columns.used.shape[1], 1) if method == "nelder_mead" else EVALUATIONS
    found = run(candidates, torch.stack(begin, 1), columns, max_evaluations or default)
    dtype = candidates.images.dtype
    distances = found.distances / max(candidates.values, 1)
    return EditFit(
        params=columns.scatter(found.values).to(dtype).view(*size, NUM_PARAMETERS),
        distance=distances.to(dtype).view(size[:2]),
        evaluations=found.evaluations.view(size[:2]),
    )


def _candidates(
    images: Tensor,
    targets: Tensor,
    ops: Tensor,
    masks: Tensor | None,
    mask_index: Tensor | None,
    exclusive: Tensor | None,
    huber: float | None,
) -> Candidates:
    """The arguments in the type that all is computed in; the native code checks what is not looked at here."""
    if images.dim() != 4 or images.shape[1] != 3:
        raise RuntimeError(f"fit_edits: images must have shape [B, 3, H, W], got {list(images.shape)}")
    if targets.shape != images.shape:
        raise RuntimeError(
            f"fit_edits: targets must have the shape of images, {list(images.shape)}, got {list(targets.shape)}"
        )
    if ops.dim() != 3 or ops.dtype != torch.int64 or len(ops) != len(images):
        raise RuntimeError(
            f"fit_edits: ops must be int64 [{len(images)}, P, K], as images, got {list(ops.shape)} {ops.dtype}"
        )
    if ops.shape[2] > MOST_STEPS:
        raise RuntimeError(f"fit_edits: ops must have at most {MOST_STEPS} steps, got {ops.shape[2]}")
    computed = computed_dtype(images, targets)
    masks = masks_in(computed, masks)
    pair = (_as_numbers("images", images, computed), _as_numbers("targets", targets, computed))
    return Candidates(*pair, ops, masks, mask_index, exclusive, float("inf") if huber is None else float(huber))


def _as_numbers(name: str, image: Tensor, dtype: torch.dtype) -> Tensor:
    if image.dtype == torch.uint8:
        return image.to(dtype) * (1 / 255)
    if not image.is_floating_point():
        raise RuntimeError(f"fit_edits: {name} must be floating or uint8, got {image.dtype}")
    return image.to(dtype)
