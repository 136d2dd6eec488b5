# SPDX-License-Identifier: Apache-2.0
"""Seeded malformed COCO data sets: a few real or generated images, and one to three slips in their files.

A slip is what tools, people and disks do to such files: values of other types and ranges, missing and repeated keys and
entries, references that lead nowhere, damaged polygons, run lengths and keypoints, other encodings, cut or replaced
image files. Some leave a file that is in order.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.random import Generator
from tasks.detection.content_slips import MUTATIONS, SPLITS, DataSet
from tasks.detection.file_slips import FILE_MUTATIONS


def build(root: Path, source: Path, seed: int) -> str:
    """Makes the malformed data set of a seed from the images of a sound one; returns the names of its slips."""
    rng = np.random.default_rng(seed)
    _take_some(root, source, rng)
    data = DataSet(root, rng)
    count = int(rng.choice([1, 1, 1, 2, 3]))
    contents = [data.pick(MUTATIONS) for _ in range(count) if rng.random() < 0.75]
    files = [data.pick(FILE_MUTATIONS) for _ in range(count - len(contents))][:1]
    for mutation in contents:
        mutation(data)
    data.write()
    for mutation in files:
        mutation(data)
    return ", ".join(mutation.__name__ for mutation in (*contents, *files))


def _take_some(root: Path, source: Path, rng: Generator) -> None:
    """A data set with three images a split, and their entries; with the file of keypoints or without."""
    (root / "annotations").mkdir(parents=True)
    with_keypoints = rng.random() < 0.5
    for split in SPLITS:
        (root / split).mkdir()
        names = sorted(path.name for path in (source / split).iterdir())
        taken = {names[i] for i in rng.choice(len(names), 3, replace=False)}
        for name in taken:
            shutil.copy(source / split / name, root / split / name)
        for kind in ("instances", *(["person_keypoints"] if with_keypoints else [])):
            path = source / "annotations" / f"{kind}_{split}.json"
            if path.exists():
                content = json.loads(path.read_text())
                images = [image for image in content["images"] if image["file_name"] in taken]
                ids = {image["id"] for image in images}
                annotations = [entry for entry in content["annotations"] if entry["image_id"] in ids]
                kept = {**content, "images": images, "annotations": annotations}
                (root / "annotations" / path.name).write_text(json.dumps(kept))
