"""What was done to an image, kept apart from it: to look at, to save, and to do again to others."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ldie_ext._public import shown
from ldie_ext.ops.editing import _recipe_file, _recipe_run
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS, EditOp
from ldie_ext.ops.editing.recipe_executor import RecipeExecutor
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS, RecipeStep, StepExecutor, StepKind, check_step
from ldie_ext.ops.editing.regions import region_at
from ldie_ext.ops.masks.rle import RLE
from ldie_ext.ops.masks.rle_encode import rle_encode

__all__ = ["Recipe"]

Image = TypeVar("Image", Tensor, np.ndarray[Any, Any])

CUBE_SIZES = (33, 65)
#: As many as Pillow opens of a picture: a few bytes of run lengths may be any number of pixels.
MOST_MASK_PIXELS = 178_956_970
_EXECUTOR = RecipeExecutor()


@dataclass(frozen=True, eq=False)
class Recipe:
    """Steps of edits with their masks; saved as a small JSON file, applied to images of any size.

    Attributes:
        steps: in order; names are those of :class:`EditOp` and of ``executor.kinds``, by default those of
            :class:`EditExecutor`.
        masks: that steps choose from, all of one size.
        size: (H, W) of the image that the recipe was made for.
        source_hash: of its pixels, as :meth:`hash_of` gives it; information only.
        version: of the file's format.
        executor: who does the steps that apply_edits does not have, a :class:`RecipeExecutor` by default; not saved.

    Parameters must be finite and within the operator's limits: those of ``EDIT_OPERATORS``, wider ones of
    ``VALID_RANGES`` where the formula holds beyond them. What does not fit is a ValueError that names the step.

    Example:
        >>> recipe = Recipe([RecipeStep("EXPOSURE", (1.0,)), RecipeStep("BLACK_WHITE", (1.0,))])
        >>> recipe.apply(torch.full((3, 1, 1), 0.25)).flatten()
        tensor([0.5000, 0.5000, 0.5000])
        >>> recipe.apply(torch.full((3, 1, 1), 0.25), strength=0.5, steps=1).flatten()
        tensor([0.3536, 0.3536, 0.3536])
    """

    steps: Sequence[RecipeStep]
    masks: RLE | None = None
    size: tuple[int, int] | None = None
    source_hash: str | None = None
    version: int = _recipe_file.VERSION
    executor: StepExecutor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        for number, step in enumerate(self.steps):
            if not isinstance(step, RecipeStep):
                raise ValueError(f"steps[{number}] must be a RecipeStep, got {shown(step)}")
        if not isinstance(self.source_hash, (str, type(None))):
            raise ValueError(f"source_hash must be a text or None, got {shown(self.source_hash)}")
        if self.version != _recipe_file.VERSION:
            raise ValueError(f"version must be {_recipe_file.VERSION}, got {shown(self.version)}")
        if self.size is not None:
            _check_size(self.size)
        if self.masks is not None and len(self.masks) > 0:
            found = self.masks.common_size()
            if self.size is not None and found != tuple(self.size):
                raise ValueError(f"masks must be of size {list(self.size)}, as the recipe, got {list(found)}")
            _check_size(found)
            if found[0] * found[1] > MOST_MASK_PIXELS:
                raise ValueError(f"masks must have at most {MOST_MASK_PIXELS} pixels, got {found[0]} x {found[1]}")
            object.__setattr__(self, "size", found)
        kinds, masks = self.kinds, 0 if self.masks is None else len(self.masks)
        for number, step in enumerate(self.steps):
            check_step(step, number, kinds, masks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.to_text() == other.to_text()

    def __hash__(self) -> int:
        return hash(self.to_text())

    @property
    def kinds(self) -> dict[str, StepKind]:
        """What steps of each known name take."""
        return {**EDIT_KINDS, **self._executor.kinds}

    @property
    def _executor(self) -> StepExecutor:
        return _EXECUTOR if self.executor is None else self.executor

    @staticmethod
    def from_edits(
        ops: Tensor,
        params: Tensor,
        masks: Tensor | None = None,
        mask_index: Tensor | None = None,
        exclusive: Tensor | None = None,
        *,
        source: Tensor | None = None,
    ) -> Recipe:
        """The recipe of one sample's arguments of apply_edits.

        Args:
            ops: int64 [K]; ``NONE`` is left out.
            params: float [K, 24].
            masks: bool [M, H, W]; those that no step uses are left out.
            mask_index: int64 [K].
            exclusive: bool [K].
            source: the image, float or uint8 [3, H, W], for the recipe's size and hash.
        """
        numbers = [-1] * len(ops) if mask_index is None else mask_index.tolist()
        steps, used = [], sorted({number for number in numbers if number >= 0})
        for k, code in enumerate(ops.tolist()):
            op = EditOp(code)
            if op is EditOp.NONE:
                continue
            mask = used.index(numbers[k]) if numbers[k] >= 0 else None
            outside = mask is not None and exclusive is not None and bool(exclusive[k])
            row = params[k, : EDIT_OPERATORS[op].parameters].tolist()
            steps.append(RecipeStep(op.name, tuple(row), mask, outside))
        rle = None if masks is None or not used else rle_encode(masks[used].cpu())
        size = None if source is None else (source.shape[1], source.shape[2])
        return Recipe(steps, rle, size, None if source is None else Recipe.hash_of(source))

    @staticmethod
    def load(path: str | os.PathLike[str], executor: StepExecutor | None = None) -> Recipe:
        """Reads a recipe; nothing in the file is run.

        Raises:
            ValueError: no recipe, of a newer version, or with a step or mask that does not fit: one line that names it.
            OSError: the file cannot be read.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")  # of editors that begin a text with a mark
            return Recipe(**_recipe_file.from_text(text), executor=executor)
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not a recipe (no text)") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the recipe; the file appears whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        target = Path(path)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
        try:
            temporary.write_text(self.to_text(), encoding="utf-8")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def to_text(self) -> str:
        """What :meth:`save` writes."""
        return _recipe_file.to_text(self.steps, self.masks, self.size, self.source_hash)

    def apply(
        self, image: Image, *, strength: float = 1.0, steps: int | None = None, region: Tensor | None = None
    ) -> Image:
        """The edited image; the one given stays as it is.

        Consecutive steps of apply_edits are one call of it, so that of an image in memory the result is that of
        apply_edits bit for bit. 16-bit arrays are edited in floats, a tile of rows at a time.

        Args:
            image: tensor, float in [0, 1] or uint8, [3, H, W] or [B, 3, H, W]; or array, uint8 or uint16, [H, W, 3].
                Where steps have masks, H : W is theirs but for rounding, and they are resized by nearest pixels.
            strength: 0 to 1: parameters go from those that change nothing to the recipe's, curves' weights (their mean
                made 1) from ones; an operator that always changes the image is blended with it.
            steps: how many of the steps, from the first on; None: all.
            region: bool [H, W], resized as masks are; outside, the image stays bit for bit as it is.

        Returns:
            As image in shape and dtype, unless an executor's step changes the size.

        Raises:
            ValueError: another kind of image, aspect, strength, number of steps or region; or a region with a step
                that changes the size.

        Differentiable: once, in floating images, as apply_edits. Deterministic: yes.
        """
        run = self._run(image, strength, steps)
        inside = None if region is None else region_at(region, *_size_of(image))
        if isinstance(image, np.ndarray):
            edit: Any = _recipe_run.run_on_bytes if image.dtype == np.uint8 else _recipe_run.run_on_deep
            return _recipe_run.keep_outside(inside, image, edit(run, image))
        edited = _recipe_run.run_on_tensor(run, image if image.dim() == 4 else image[None])
        return _recipe_run.keep_outside(inside, image, edited if image.dim() == 4 else edited[0])

    def to_cube(self, size: int = 33, *, strength: float = 1.0) -> str:
        """The text of a .cube file, a table of size^3 colours, for programs that take such looks.

        Between its colours those programs interpolate, so that a table is near the recipe, not equal to it.

        Raises:
            ValueError: another size than 33 and 65; or a step that has a mask, reads its neighbours or moves pixels,
                which no table of colours does: the message names it.
        """
        if size not in CUBE_SIZES:
            raise ValueError(f"size must be 33 or 65, got {shown(size)}")
        for number, step in enumerate(self.steps):
            where = f"steps[{number}] ({step.name})"
            if step.mask is not None:
                raise ValueError(f"{where} has a mask, which a .cube file cannot hold")
            if self.kinds[step.name].halo != 0:
                raise ValueError(f"{where} does not edit each pixel by itself, as a .cube file does")
        axis = torch.linspace(0, 1, size)
        blue, green, red = torch.meshgrid(axis, axis, axis, indexing="ij")  # red changes first
        colors = torch.stack([red, green, blue]).reshape(3, size, size * size)
        rows = self.apply(colors, strength=strength).reshape(3, -1).T.tolist()
        lines = "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in rows)
        return f'TITLE "ldie recipe"\nLUT_3D_SIZE {size}\n{lines}\n'

    @staticmethod
    def hash_of(image: Tensor) -> str:
        """``sha256:`` and the SHA-256 of an image's text "H W" and its pixels, RGB after RGB in bytes, row by row.

        Args:
            image: [3, H, W], uint8, or float in [0, 1], which is rounded to 255 levels.
        """
        if image.is_floating_point():
            image = image.detach().float().mul(255).round().clamp(0, 255).to(torch.uint8)
        height, width = image.shape[1:]
        pixels = image.permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
        return "sha256:" + hashlib.sha256(f"{height} {width}".encode() + pixels).hexdigest()

    def _run(self, image: object, strength: float, steps: int | None) -> _recipe_run.Run:
        size, device = _size_of(image)
        if isinstance(strength, bool) or not isinstance(strength, Real) or not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, got {shown(strength)}")
        count = len(self.steps) if steps is None else steps
        if type(count) is not int or not 0 <= count <= len(self.steps):
            raise ValueError(f"steps must be 0 to {len(self.steps)}, of so many the recipe is, got {shown(steps)}")
        chosen = self.steps[:count]
        used = sorted({step.mask for step in chosen if step.mask is not None})
        masks = _recipe_run.masks_at(self.masks, used, size, device) if used and self.masks is not None else None
        renumbered = [step if step.mask is None else replace(step, mask=used.index(step.mask)) for step in chosen]
        return _recipe_run.Run(renumbered, masks, float(strength), self._executor)


def _check_size(size: object) -> None:
    fits = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    if not fits or not size[0] * size[1] < 2**31:  # type: ignore[index]
        raise ValueError(
            f"size must be height and width, whole numbers from 1 and of less than 2^31 pixels, got {size}"
        )


def _size_of(image: Any) -> tuple[tuple[int, int], torch.device]:
    is_array = isinstance(image, np.ndarray) and image.dtype in (np.uint8, np.uint16)
    if is_array and image.ndim == 3 and image.shape[2] == 3:
        return (image.shape[0], image.shape[1]), torch.device("cpu")
    is_tensor = isinstance(image, Tensor) and (image.is_floating_point() or image.dtype == torch.uint8)
    if is_tensor and image.dim() in (3, 4) and image.shape[-3] == 3:
        return (image.shape[-2], image.shape[-1]), image.device
    came = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else shown(image)
    raise ValueError(
        "image must be a float or uint8 tensor [3, H, W] or [B, 3, H, W], or a uint8 or uint16 array [H, W, 3], "
        f"got {came}"
    )
