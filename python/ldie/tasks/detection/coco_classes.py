# SPDX-License-Identifier: Apache-2.0
"""The 80 classes of COCO and a person's 17 keypoints, which published weights are for."""

from __future__ import annotations

from collections.abc import Sequence

from ldie.contract import Facts
from ldie.tasks.detection.geometry import mirror_pairs

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


COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""Of a person."""
COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10), (1, 2),
    (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Pairs of them to join in pictures."""


def coco_facts() -> Facts:
    """What the detection task says of COCO's boxes and masks."""
    return _facts(COCO_CLASSES, COCO_CATEGORY_IDS)


def coco_person_facts() -> Facts:
    """What it says of COCO's persons with their keypoints."""
    return _facts(COCO_CLASSES[:1], COCO_CATEGORY_IDS[:1], COCO_KEYPOINTS, COCO_SKELETON)


def numbered_facts(classes: int, keypoints: int = 0) -> Facts:
    """What it says of classes and keypoints of which only the number is known."""
    names = [f"class {i}" for i in range(classes)]
    return _facts(names, range(1, classes + 1), [f"keypoint {i}" for i in range(keypoints)])


def _facts(
    classes: Sequence[str],
    category_ids: Sequence[int],
    keypoints: Sequence[str] = (),
    skeleton: Sequence[tuple[int, int]] = (),
) -> Facts:
    return {
        "classes": list(classes),
        "category_ids": list(category_ids),
        "keypoints": list(keypoints),
        "flip_pairs": [list(pair) for pair in mirror_pairs(keypoints)],
        "skeleton": [list(pair) for pair in skeleton],
    }
