"""Modules around the ops, with the constructors and call conventions of their best-known peers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from ldie_ext._options import option_code
from ldie_ext.ops.boxes.grid_anchors import Convention, Lists, Numbers, Pairs, flat_anchors, per_level
from ldie_ext.ops.conv.deform_conv2d import Pair, as_pair, deform_conv2d
from ldie_ext.ops.roi.multiscale_roi_align import LEVEL_RULES, LevelRule, log2, pool_pyramid
from ldie_ext.ops.roi.roi_align import flatten_boxes, roi_align, size_pair

__all__ = ["AnchorGenerator", "DeformConv2d", "MultiScaleRoIAlign", "RoIAlign"]

_MOST_CACHED = 32  # pyramids of different sizes; batches padded to multiples of 32 seldom make more in a row


class AnchorGenerator(nn.Module):
    """Anchors for a batch of padded images: ``torchvision.models.detection.anchor_utils.AnchorGenerator``, cached.

    The anchors depend on nothing but the sizes of maps and images, so those of the last 32 pyramids are kept and
    shared: treat them as read-only. Always float32; torchvision takes the dtype of the maps, and 16 bits cannot hold
    pixel coordinates.

    Args:
        sizes: sides of square anchors in pixels: a list for each level, or one number for each level.
        aspect_ratios: height / width: a list for each level, or one flat list for all of them.
        convention: 'torchvision' or 'detectron2', see :func:`ldie_ext.grid_anchors`.
        offset: of the first location from the image's corner, in strides.
        strides: pixels between the locations of each level, as detectron2 is given them; None: as torchvision takes
            them, a batch's sides divided by the map's, rounded down.

    Raises:
        ValueError: strides are not one for each level.

    Example:
        >>> generator = AnchorGenerator(((32,), (64,)), (0.5, 1.0, 2.0))
        >>> generator.num_anchors_per_location()
        [3, 3]
    """

    def __init__(
        self,
        sizes: Numbers = ((128, 256, 512),),
        aspect_ratios: Numbers = ((0.5, 1.0, 2.0),),
        *,
        convention: Convention = "torchvision",
        offset: float = 0.0,
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.sizes, self.aspect_ratios = per_level(sizes, aspect_ratios)
        if strides is not None and len(strides) != len(self.sizes):
            raise ValueError(f"strides must be one for each of {len(self.sizes)} levels, got {len(strides)}")
        self.convention = convention
        self.offset = offset
        self.strides = None if strides is None else tuple((stride, stride) for stride in strides)

    def num_anchors_per_location(self) -> list[int]:
        """How many anchors each location of each level carries."""
        return [len(size) * len(ratio) for size, ratio in zip(self.sizes, self.aspect_ratios, strict=True)]

    def forward(self, image_list: Any, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """The anchors of each image.

        Args:
            image_list: torchvision's ImageList, or whatever has ``tensors`` [B, C, H, W], the padded batch, and
                ``image_sizes`` [B].
            feature_maps: [B, C, H, W] of each level.

        Returns:
            For each image what :meth:`grid` gives.
        """
        height, width = image_list.tensors.shape[-2:]
        return [self.grid((height, width), feature_maps)] * len(image_list.image_sizes)

    def grid(self, size: tuple[int, int], feature_maps: Sequence[Tensor]) -> Tensor:
        """The anchors that all images of a batch share.

        Args:
            size: (H, W) of the padded batch.
            feature_maps: [B, C, H, W] of each level.

        Returns:
            float32 [A, 4], the levels one after the other, on the device of the first map.
        """
        grid_sizes = tuple((features.shape[-2], features.shape[-1]) for features in feature_maps)
        strides = (
            self.strides
            if self.strides is not None
            else tuple((size[0] // max(rows, 1), size[1] // max(columns, 1)) for rows, columns in grid_sizes)
        )
        make = _cached_anchors if _may_cache(feature_maps[0]) else flat_anchors
        device = feature_maps[0].device
        return make(self.sizes, self.aspect_ratios, grid_sizes, strides, self.convention, self.offset, device)

    def extra_repr(self) -> str:
        """What print() shows; strides where they are given."""
        text = (
            f"sizes={self.sizes}, aspect_ratios={self.aspect_ratios}, convention={self.convention!r}, "
            f"offset={self.offset}"
        )
        return text if self.strides is None else f"{text}, strides={tuple(stride for stride, _ in self.strides)}"


def _may_cache(features: Tensor) -> bool:
    """Whether an anchor tensor made now is a plain one that may outlive the call."""
    if torch.compiler.is_compiling() or type(features) is not Tensor:  # traced, fake or wrapped
        return False
    return not (features.is_cuda and torch.cuda.is_current_stream_capturing())


@lru_cache(maxsize=_MOST_CACHED)
def _cached_anchors(
    sizes: Lists,
    aspect_ratios: Lists,
    grid_sizes: Pairs,
    strides: Pairs,
    convention: str,
    offset: float,
    device: torch.device,
) -> Tensor:
    with torch.inference_mode(False):  # or training could not use what evaluation left
        return flat_anchors(sizes, aspect_ratios, grid_sizes, strides, convention, offset, device)


class DeformConv2d(nn.Module):
    """A layer of :func:`ldie_ext.deform_conv2d`: ``torchvision.ops.DeformConv2d``, with its initialisation and state.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel_size: one number, or vertical and horizontal; so are stride, padding and dilation.
        stride: distance of the positions.
        padding: zeros around the image.
        dilation: distance of the taps.
        groups: parts of the channels that only their part of the filters sees.
        bias: whether to add one number to each output channel.

    Example:
        >>> layer = DeformConv2d(4, 8, kernel_size=3, padding=1)
        >>> layer(torch.zeros(2, 4, 5, 5), torch.zeros(2, 18, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups != 0:
                raise ValueError(f"{name} must be divisible by groups = {groups}, got {channels}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = as_pair(kernel_size), as_pair(stride)
        self.padding, self.dilation = as_pair(padding), as_pair(dilation)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias as a convolution of PyTorch does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """The convolution.

        Args:
            input: [N, in_channels, H, W].
            offset: [N, 2 * offset_groups * kh * kw, H_out, W_out], (y, x) of each tap.
            mask: [N, offset_groups * kh * kw, H_out, W_out].

        Returns:
            [N, out_channels, H_out, W_out].
        """
        return deform_conv2d(input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)

    def extra_repr(self) -> str:
        """What print() shows; options that have their defaults are left out."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text if self.bias is not None else text + ", bias=False"


class RoIAlign(nn.Module):
    """:func:`ldie_ext.roi_align` as a module: ``torchvision.ops.RoIAlign``.

    Args:
        output_size: (h, w) of the bins, or one number for both.
        spatial_scale: cells of the map per unit of the boxes.
        sampling_ratio: samples of a bin along each axis; 0 or below adapts to the RoI.
        aligned: cell centres stand at 0.5.

    Example:
        >>> boxes = [torch.tensor([[0.0, 0.0, 99.0, 99.0]])]
        >>> RoIAlign(7, 1 / 16, 2, aligned=True)(torch.rand(1, 8, 20, 20), boxes).shape
        torch.Size([1, 8, 7, 7])
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor | list[Tensor]) -> Tensor:
        """Pools ``rois`` ([K, 5], or [L, 4] for each image) out of ``input``."""
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )


class MultiScaleRoIAlign(nn.Module):
    """:func:`ldie_ext.multiscale_roi_align` on named maps: ``torchvision.ops.MultiScaleRoIAlign``, in one launch.

    The scale of each map is the power of two nearest to its size over the images' (as in torchvision), found anew on
    each call; ``scales`` shows the last.

    Args:
        featmap_names: the maps to pool from, finest first; others are left out.
        output_size: (h, w) of the bins, or one number for both.
        sampling_ratio: samples of a bin along each axis; 0 or below adapts to the RoI.
        canonical_scale: the side of boxes that belong to the canonical level.
        canonical_level: that level, as a power of two of its stride.
        aligned: cell centres stand at 0.5.
        levels: whose rule for a box's level: 'torchvision', 'detectron2' or 'mmdet'.

    Example:
        >>> maps = {"0": torch.rand(1, 8, 32, 32), "1": torch.rand(1, 8, 16, 16)}
        >>> boxes = [torch.tensor([[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 128.0, 128.0]])]
        >>> MultiScaleRoIAlign(["0", "1"], 7, 2)(maps, boxes, [(128, 128)]).shape
        torch.Size([2, 8, 7, 7])
    """

    __annotations__ = {"scales": list[float] | None}

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | list[int] | tuple[int, int],
        sampling_ratio: int,
        *,
        canonical_scale: float = 224,
        canonical_level: int = 4,
        aligned: bool = False,
        levels: LevelRule = "torchvision",
    ) -> None:
        super().__init__()
        self.featmap_names = list(featmap_names)
        self.output_size = size_pair(output_size)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = float(canonical_scale)
        self.canonical_level = canonical_level
        self.aligned = aligned
        self.levels = levels
        self.rule = option_code("levels", levels, LEVEL_RULES)
        self.scales: list[float] | None = None

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Pools the boxes [L, 4] of each image; ``image_shapes`` are the images' sizes before padding."""
        features = _chosen_maps(x, self.featmap_names)
        scales = _power_of_two_scales(features, image_shapes)
        if isinstance(scales, list):  # and not what stands for it while torch.fx traces
            self.scales = scales
        return _pool_maps(
            features, boxes, scales, self.output_size, self.sampling_ratio, self.aligned, self.canonical_scale,
            self.canonical_level, self.rule,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The constructor's main arguments."""
        return (
            f"featmap_names={self.featmap_names}, output_size={self.output_size}, sampling_ratio={self.sampling_ratio}"
        )


def _chosen_maps(x: dict[str, Tensor], names: list[str]) -> list[Tensor]:
    features: list[Tensor] = []
    for name, level in x.items():
        if name in names:
            features.append(level)
    if len(features) == 0:
        raise ValueError(f"no feature map of {list(x.keys())} is among featmap_names, {names}")
    return features


def _power_of_two_scales(features: list[Tensor], image_shapes: list[tuple[int, int]]) -> list[float]:
    """Cells per pixel of each map, by the heights of maps and padded images."""
    if len(image_shapes) == 0:
        raise ValueError("images list should not be empty: image_shapes must have one size for each image")
    height = max([shape[0] for shape in image_shapes])
    return [2.0 ** round(log2(float(feature.shape[2]) / float(height))) for feature in features]


def _pool_maps(
    features: list[Tensor],
    boxes: list[Tensor],
    scales: list[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
    canonical_scale: float,
    canonical_level: int,
    rule: int,
) -> Tensor:
    count = len(scales)
    if rule == 0:
        # torchvision's last level is that of the last scale: with two maps of one scale it never reads the last.
        count = max(1, min(count, 1 + int(log2(scales[0] / scales[-1]) + 0.5)))
    flat, offsets = flatten_boxes(boxes)
    return pool_pyramid(
        features[:count], flat, offsets, output_size, scales[:count], sampling_ratio, aligned, canonical_scale,
        canonical_level, rule,
    )  # fmt: skip


for _function in ("_chosen_maps", "_pool_maps", "_power_of_two_scales", "deform_conv2d", "roi_align"):
    torch.fx.wrap(_function)  # torch.fx records calls of these and does not look inside, as it does with torchvision's
