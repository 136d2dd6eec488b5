# SPDX-License-Identifier: Apache-2.0
"""The 80 classes of COCO, which published weights are for."""

from __future__ import annotations

from ldie.contract import Facts

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote,
keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush
"""
COCO_CLASSES = tuple(name.strip() for name in _NAMES.replace("\n", " ").split(","))
"""By label."""
_WITHOUT_OBJECTS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_CATEGORY_IDS = tuple(id for id in range(1, 91) if id not in _WITHOUT_OBJECTS)
"""Of COCO's files, by label."""


def coco_facts() -> Facts:
    """What the detection task says of COCO's boxes."""
    return {
        "classes": list(COCO_CLASSES),
        "category_ids": list(COCO_CATEGORY_IDS),
        "keypoints": [],
        "flip_pairs": [],
        "skeleton": [],
    }
