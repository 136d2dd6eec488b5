# SPDX-License-Identifier: Apache-2.0
"""Detection as one graph: images of a fixed size in, a fixed number of objects out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ldie.errors import ExportError
from ldie.export.exportable import Example, Exportable
from ldie.tasks.detection.agreement import Tolerance, agreement
from ldie.tasks.detection.batches import padded
from ldie.tasks.detection.geometry import resize_image
from ldie.tasks.detection.masks import Masks, Size
from ldie.tasks.detection.sample import Prediction
from ldie.tasks.detection.transforms import normalize
from ldie.tasks.detection.whole_images import Convention, InputConfig, evaluation_size

_ONE = 1 << 22
"""Pillow's weights are whole numbers; this one is 1."""
OUTPUTS = ("boxes", "scores", "labels")
"""Of every graph."""


class DetectionGraph(nn.Module, ABC):
    """What a model's ``predict`` computes, in tensors of fixed shapes.

    Args:
        size: (H, W) of the images.
        slots: Objects of an image.
        floor: Score that an object needs.
    """

    def __init__(self, size: Size, slots: int, floor: float = 0.0) -> None:
        super().__init__()
        self.size = size
        self.slots = slots
        self.floor = floor

    @property
    def tolerance(self) -> Tolerance:
        """How far its objects may be from those of ``predict``, whose numbers are rounded in another order."""
        return Tolerance()

    @property
    def details(self) -> dict[str, str]:
        """What the graph gives of objects beside boxes, scores and labels; nothing by default.

        By name, ``masks`` and ``keypoints``: how the shape ``[B, slots, ...`` goes on, and what is in it.
        """
        return {}

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The objects in images, best first.

        Args:
            images: uint8 [B,3,H,W], RGB.

        Returns:
            Boxes float32 [B,slots,4], x1 y1 x2 y2 in pixels; scores float32 [B,slots]; labels int64 [B,slots]; and
            :attr:`details`, float32. Slots that hold no object come last: label -1, all else 0.
        """

    def draw(self, masks: Tensor, boxes: Tensor) -> Masks:
        """Masks of the image from the graph's masks [N,...] of boxes [N,4]; for graphs that have some."""
        raise NotImplementedError

    def read(self, outputs: Sequence[Tensor]) -> list[Prediction]:
        """Outputs of the graph as predictions."""
        return [self._prediction(dict(zip((*OUTPUTS, *self.details), image))) for image in zip(*outputs, strict=True)]

    def _prediction(self, slots: Mapping[str, Tensor]) -> Prediction:
        used = slots["labels"] >= 0
        fields = {name: slot[used] for name, slot in slots.items()}
        masks = self.draw(fields["masks"], fields["boxes"]) if "masks" in fields else None
        boxes, scores, labels = (fields[name] for name in OUTPUTS)
        return Prediction(boxes, scores, labels, masks, fields.get("keypoints"), self.size)


def in_slots(found: Sequence[Tensor], slots: int) -> tuple[Tensor, ...]:
    """What a graph gives of one image, filled up to so many objects; where there are more, the first of them."""
    fills = (0, 0, -1) + (0,) * (len(found) - 3)
    return tuple(
        torch.cat((field, field.new_full((slots, *field.shape[1:]), fill)))[:slots]
        for field, fill in zip(found, fills, strict=True)
    )


class FixedResize(nn.Module):
    """:func:`ldie.tasks.detection.geometry.resize_image` for images of one size, bit for bit.

    Pillow goes along one axis after the other, each time with weights that are whole numbers and a result that is
    rounded to 8 bits. As a product with a matrix that is exact in float64.

    Args:
        source: (H, W) of the images.
        target: (H, W) of the results.

    Raises:
        ExportError: This Pillow resizes in another way.
    """

    def __init__(self, source: Size, target: Size) -> None:
        super().__init__()
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("rows", _weights(source[0], target[0]).T.contiguous())
        self.register_buffer("columns", _weights(source[1], target[1]))
        probe = torch.randint(256, (3, *source), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        expected = resize_image(probe, target)
        self.rows_first = False
        if not torch.equal(self(probe), expected):
            self.rows_first = True
            if not torch.equal(self(probe), expected):
                raise ExportError(f"Pillow {PIL.__version__} resizes images in a way that is not known here")

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [...,H,W] of the source's size -> uint8 of the target's."""
        rows, columns, pixels = self.rows.double(), self.columns.double(), images.double()
        if self.rows_first:
            resized = _rounded(_rounded(rows @ pixels) @ columns)
        else:
            resized = _rounded(rows @ _rounded(pixels @ columns))
        return resized.to(torch.uint8)


class WholeImageInput(nn.Module):
    """:func:`ldie.tasks.detection.whole_images.evaluation_image` for images of one size, filled up as batches are.

    Args:
        size: (H, W) of the images.
        config: What they become.
        convention: Whose way of resizing.
    """

    def __init__(self, size: Size, config: InputConfig, convention: Convention) -> None:
        super().__init__()
        self.config = config
        self.convention = convention
        self.target = evaluation_size(size, config, convention)
        self.filled: Size = (padded(self.target[0], config.multiple), padded(self.target[1], config.multiple))
        resizes = convention == "detectron2" and self.target != size
        self.pillow = FixedResize(size, self.target) if resizes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B,3,H,W] -> float32 [B,3,h,w] of the size ``filled``, the upper left ``target`` of which is image."""
        options = self.config
        normal = normalize(self.pillow(images), options.mean, options.std, bgr=options.bgr)
        if self.convention == "torchvision":
            normal = functional.interpolate(normal, size=self.target, mode="bilinear", align_corners=False)
        bottom, right = (whole - side for whole, side in zip(self.filled, self.target))
        return functional.pad(normal, (0, right, 0, bottom)).contiguous(memory_format=torch.channels_last)


def _weights(source: int, target: int) -> Tensor:
    """Pillow's weights [source,target] along an axis, times ``_ONE``: what it makes of images of one bright pixel."""
    pixels = np.eye(source, dtype=np.int32) * np.int32(_ONE)
    resized = Image.fromarray(pixels).resize((target, source), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized).astype(np.float32))  # below 2 ** 24, so exact


def _rounded(sums: Tensor) -> Tensor:
    return ((sums + _ONE // 2) / _ONE).floor().clamp(0, 255)


def exportable(
    graph: DetectionGraph,
    predict: Callable[[Sequence[Tensor]], list[Prediction]],
    facts: Mapping[str, Any],
    batch_size: int,
    images: Sequence[Tensor],
) -> Exportable:
    """A graph with what it is compared with.

    Args:
        graph: In eval mode.
        predict: What it must agree with.
        facts: Of the data that the model was trained on.
        batch_size: Images that the graph takes.
        images: uint8 [3,H,W], RGB, of any size, to compare on beside noise.
    """
    shape = (batch_size, 3, *graph.size)
    noise = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batches = {"noise": noise}
    if images:
        resized = [resize_image(images[i % len(images)], graph.size) for i in range(batch_size)]
        batches["images of its data"] = torch.stack(resized)
    return Exportable(
        graph=graph,
        inputs=("images",),
        outputs=(*OUTPUTS, *graph.details),
        examples=[_example(name, batch, graph, predict) for name, batch in batches.items()],
        facts={
            "classes": facts["classes"],
            "category_ids": facts["category_ids"],
            "images": f"uint8 {list(shape)}, RGB, 0 to 255; resized to this size, not normalized",
            "boxes": f"float32 [{batch_size}, {graph.slots}, 4], x1 y1 x2 y2 in pixels of the images",
            "scores": f"float32 [{batch_size}, {graph.slots}], 0 to 1, best first; 0: nothing in this slot",
            "labels": f"int64 [{batch_size}, {graph.slots}], places in classes; -1: nothing in this slot",
            **{name: f"float32 [{batch_size}, {graph.slots}, {text}" for name, text in graph.details.items()},
        },
    )


def _example(
    name: str, images: Tensor, graph: DetectionGraph, predict: Callable[[Sequence[Tensor]], list[Prediction]]
) -> Example:
    with torch.no_grad():
        expected = predict(list(images))

    def compare(outputs: Sequence[Tensor]) -> str:
        return agreement(expected, graph.read(outputs), graph.slots, graph.floor, graph.tolerance)

    return Example(name, (images,), compare)
