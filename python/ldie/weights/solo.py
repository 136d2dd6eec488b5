# SPDX-License-Identifier: Apache-2.0
"""SOLO with ResNet and FPN as others publish it: under mmdetection's names, or those of its authors."""

from __future__ import annotations

from ldie.weights.names import NameTable
from ldie.weights.rcnn import RESNET

_HEADS = ("mask_head", "bbox_head")
"""What the head is called: by mmdetection, and by the authors' code, which is of an older one."""
_AUTHORS = {
    "ins_convs": "mask_convs",
    "cate_convs": "cls_convs",
    "solo_ins_list": "conv_mask_list",
    "solo_cate": "conv_cls",
}
"""Parts of the head as its authors call them, and as mmdetection does."""

MMDETECTION = NameTable(
    {f"backbone.{theirs}": f"backbone.bottom_up.{ours}" for theirs, ours in RESNET.items()}
    | {
        "neck.lateral_convs.<i>.conv.*": "backbone.fpn_lateral<i+2>.*",
        "neck.fpn_convs.<i>.conv.*": "backbone.fpn_output<i+2>.*",
        "mask_head.mask_convs.<i>.conv.weight": "head.mask_convs.<i>.weight",
        "mask_head.mask_convs.<i>.gn.*": "head.mask_convs.<i>.norm.*",
        "mask_head.cls_convs.<i>.conv.weight": "head.cls_convs.<i>.weight",
        "mask_head.cls_convs.<i>.gn.*": "head.cls_convs.<i>.norm.*",
        "mask_head.conv_mask_list.<i>.*": "head.conv_mask_list.<i>.*",
        "mask_head.conv_cls.*": "head.conv_cls.*",
    },
    older={f"{head}.{old}.*": f"mask_head.{new}.*" for head in _HEADS for old, new in _AUTHORS.items()}
    | {"bbox_head.*": "mask_head.*"},
)
"""mmdetection's ``solo_r50_fpn``, and the authors' (WXinlong/SOLO) as an older spelling of it."""
