"""How a recipe's steps run: those of apply_edits together in one call, others by an executor; 16 bit in tiles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ldie_ext.ops.editing._computed import computed_dtype
from ldie_ext.ops.editing.apply_edits import Layout, apply_edits
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, EditOp
from ldie_ext.ops.editing.quantisation import to_bytes
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS, RecipeStep, StepExecutor, weakened
from ldie_ext.ops.editing.regions import check_aspect, nearest_pixels
from ldie_ext.ops.masks.rle import RLE
from ldie_ext.ops.masks.rle_decode import rle_decode

__all__: list[str] = []

_MOST_STEPS, _MOST_STENCILS = 32, 8  # of one call of apply_edits
_TILE_PIXELS = 1 << 18
_WHITE = 65535


@dataclass(frozen=True)
class Run:
    """Steps to do, with their masks at the image's size."""

    steps: Sequence[RecipeStep]
    masks: Tensor | None
    """bool [M, H, W]."""
    strength: float
    executor: StepExecutor

    @property
    def is_local(self) -> bool:
        """Whether apply_edits does all of it."""
        return all(step.name in EDIT_KINDS for step in self.steps)

    @property
    def is_one_call(self) -> bool:
        """Whether a single call of it does, so that bytes are rounded at the end alone."""
        return self.is_local and len(list(_calls(self.steps))) <= 1

    def rows(self, first: int, last: int) -> Run:
        """The same for some rows of the image."""
        masks = None if self.masks is None else self.masks[:, first:last]
        return Run(self.steps, masks, self.strength, self.executor)

    def on(self, images: Tensor, layout: Layout = "chw") -> Tensor:
        """The edited images, in memory of their own; floats [B, 3, H, W] where steps are an executor's."""
        if not self.steps:
            return images.clone()
        for fused, group in groupby(self.steps, key=lambda step: step.name in EDIT_KINDS):
            steps = list(group)
            if not fused:
                for step in steps:
                    images = self._executed(images, step)
                continue
            for call in _calls(steps):
                images = self._edited(images, call, layout)
        return images

    def _executed(self, images: Tensor, step: RecipeStep) -> Tensor:
        mask = None if step.mask is None or self.masks is None else self.masks[step.mask]
        if mask is not None and step.exclusive:
            mask = ~mask
        return self.executor.run(images, step, mask, self.strength)

    def _edited(self, images: Tensor, steps: Sequence[RecipeStep], layout: Layout) -> Tensor:
        computed = computed_dtype(images)
        weak = [weakened(step, EDIT_KINDS[step.name], self.strength) for step in steps]
        ops = torch.tensor([[EditOp[step.name] for step in steps]])
        params = torch.stack(
            [EDIT_OPERATORS[EditOp[step.name]].row(torch.tensor(step.params, dtype=computed)) for step in weak]
        )
        places = self._places(steps, images, layout)
        sample = (ops, params[None], *places[1:]) if places else (ops, params[None])
        batch = [each.to(images.device).expand(images.shape[0], *each.shape[1:]) for each in sample]
        masks = (places[0].to(images.device), *batch[2:]) if places else ()
        return apply_edits(images, *batch[:2], *masks, layout=layout)

    def _places(
        self, steps: Sequence[RecipeStep], images: Tensor, layout: Layout
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Masks, and each step's number and exclusive; None where all steps act everywhere and as they are.

        A step that no parameter makes weaker gets a mask that does, for a mask is a blend.
        """
        fading = [EDIT_KINDS[step.name].identity is None and self.strength < 1 for step in steps]
        index = torch.tensor([[-1 if step.mask is None else step.mask for step in steps]])
        exclusive = torch.tensor([[step.exclusive for step in steps]])
        if not any(fading):
            return None if self.masks is None or bool((index < 0).all()) else (self.masks, index, exclusive)
        size = images.shape[1:3] if layout == "hwc" else images.shape[2:]
        pool = [] if self.masks is None else [*self.masks.float()]
        for k, step in enumerate(steps):
            if fading[k]:
                place = torch.ones(size, device=images.device) if step.mask is None else pool[step.mask]
                pool.append(self.strength * (1 - place if step.exclusive else place))
                index[0, k], exclusive[0, k] = len(pool) - 1, False
        return torch.stack(pool), index, exclusive


def _calls(steps: Sequence[RecipeStep]) -> Iterator[list[RecipeStep]]:
    """The steps in parts that one call of apply_edits takes each."""
    call: list[RecipeStep] = []
    stencils = 0
    for step in steps:
        is_stencil = EDIT_KINDS[step.name].halo != 0
        if len(call) == _MOST_STEPS or (is_stencil and stencils == _MOST_STENCILS):
            yield call
            call, stencils = [], 0
        call.append(step)
        stencils += is_stencil
    if call:
        yield call


def run_on_tensor(run: Run, images: Tensor) -> Tensor:
    """Float or uint8 images [B, 3, H, W]."""
    if run.is_one_call or images.is_floating_point():
        return run.on(images)
    return to_bytes(run.on(images.float() / 255))


def run_on_bytes(run: Run, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A uint8 image [H, W, 3]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is read-only: nothing writes to it
        pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
    if run.is_one_call:
        return run.on(pixels, "hwc")[0].numpy()
    edited = to_bytes(run.on(pixels.permute(0, 3, 1, 2).float() / 255))
    return np.ascontiguousarray(edited[0].permute(1, 2, 0).numpy())


def run_on_deep(run: Run, image: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """A uint16 image [H, W, 3], in floats a tile of rows at a time; whole where an executor's steps need all of it."""
    height, width, _ = image.shape
    if not run.is_local:
        return _edited_rows(run, image)
    halo = sum(EDIT_KINDS[step.name].halo or 0 for step in run.steps)
    edited = np.empty_like(image, order="C")
    for first, last in _tiles(height, max(1, _TILE_PIXELS // max(1, width), 2 * halo)):
        above, below = max(0, first - halo), min(height, last + halo)
        rows = _edited_rows(run.rows(above, below), image[above:below])
        edited[first:last] = rows[first - above : last - above]
    return edited


def _tiles(length: int, step: int) -> Iterator[tuple[int, int]]:
    return ((first, min(length, first + step)) for first in range(0, length, step))


def _edited_rows(run: Run, rows: NDArray[np.uint16]) -> NDArray[np.uint16]:
    pixels = torch.from_numpy(rows.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
    edited = run.on(pixels.div_(_WHITE))[0].permute(1, 2, 0)
    return (edited * _WHITE).add_(0.5).numpy().astype(np.uint16)


def keep_outside(region: Tensor | None, image: Any, edited: Any) -> Any:
    """The edited image inside a region bool [H, W], the image itself outside."""
    if region is None:
        return edited
    if edited.shape != image.shape:
        raise ValueError(f"region must be None where steps change the size, from {image.shape} to {edited.shape}")
    if isinstance(image, np.ndarray):
        np.copyto(edited, image, where=~region.numpy()[:, :, None])
        return edited
    return torch.where(region, edited, image)


def masks_at(masks: RLE, numbers: Sequence[int], size: tuple[int, int], device: torch.device) -> Tensor:
    """Some of the masks as bool [M, H, W] at an image's size, by its nearest pixels; whole, one at a time.

    Raises:
        ValueError: the image is no enlarged or reduced picture of the masks' size.
    """
    found = masks.common_size()
    check_aspect(found, size, "the recipe's masks")
    chosen = torch.empty(len(numbers), *size, dtype=torch.bool)
    for mask, number in zip(chosen, numbers, strict=True):
        mask.copy_(nearest_pixels(rle_decode(_only(masks, number), size=found), size)[0])
    return chosen.to(device)


def _only(masks: RLE, number: int) -> RLE:
    first, last = masks.offsets[number : number + 2].tolist()
    return RLE(masks.counts[first:last], torch.tensor([0, last - first]), masks.sizes[number : number + 1])
