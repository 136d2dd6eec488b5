# SPDX-License-Identifier: Apache-2.0
"""Small folders as MA5k-Req and GIER are published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ldie_ext.coco import mask as coco_mask

SPLITS = ("train", "val", "test")


def picture(path: Path, size: tuple[int, int] = (6, 8), seed: int = 0, mode: str = "RGB") -> np.ndarray:
    """Writes smooth noise of (H, W); returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(20, 235, (3, 4, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)
    image.convert(mode).save(path)
    return np.asarray(image)


def record(source: str, target: str, *requests: Any, operator: Any = None, amateur: Any = (), **more: Any) -> dict:
    """Of GIER."""
    amateur = list(amateur) if isinstance(amateur, tuple) else amateur
    texts = {"request": "as on the web", "detailed_request": float("nan")}
    fields = {"input": source, "output": target, "expert_summary": list(requests), "amateur_summary": amateur}
    return {**texts, **fields, "operator": {} if operator is None else operator, **more}


def pictures_of(root: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """One for each name in the records that is not there yet, all different."""
    names = dict.fromkeys(name for records in splits.values() for each in records for name in map(each.get, KEYS))
    for seed, name in enumerate(names):
        path = root / "images" / str(name).replace("/", "_")
        if not path.exists():
            picture(path, seed=seed)


KEYS = ("input", "output")


def gier(root: Path, **splits: list[dict[str, Any]]) -> Path:
    """A folder with records for some splits and their pictures."""
    (root / "splits").mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        (root / "splits" / f"{split}_sess_3.json").write_text(json.dumps(splits.get(split, [])))
    pictures_of(root, splits)
    return root


def fivek(root: Path, **splits: list[dict[str, Any]]) -> Path:
    """A folder with records for some splits and their pictures."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        (root / "annotations" / f"{split}_sess_1.json").write_text(json.dumps(splits.get(split, [])))
    pictures_of(root, splits)
    return root


def masks(root: Path, stem: str, *pixels: np.ndarray) -> None:
    """Writes a picture's masks, bool [H, W] each."""
    rles = [coco_mask.encode(np.asfortranarray(each, dtype=np.uint8)) for each in pixels]
    path = root / "masks" / f"{stem}_mask.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"size": rle["size"], "counts": rle["counts"].decode()} for rle in rles]))
