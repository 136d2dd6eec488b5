# SPDX-License-Identifier: Apache-2.0
"""Slips in the files of a COCO data set: text, folders, images; mutated_coco.py makes data sets of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image
from tasks.detection.content_slips import SPLITS, DataSet


def other_text(data: DataSet) -> None:
    """An annotation file of another encoding, or whose JSON is damaged."""
    forms: list[Callable[[str], bytes]] = [
        lambda text: text.encode("utf-8-sig"), lambda text: text.encode("utf-16"), lambda text: text.encode("utf-32"),
        lambda text: text.encode("utf-16-be"), lambda text: (text[:-1] + ', "é": 1}').encode("latin-1"),
        lambda text: text.encode()[: len(text) // 2], lambda text: b"", lambda text: b"\0" * 100,
        lambda text: text.encode() + text.encode(), lambda text: text.encode() + b"\x1a",
        lambda text: text.replace("}, {", "},, {", 1).encode(), lambda text: ("// made by\n" + text).encode(),
        lambda text: text.replace('"id": ', '"id": 1' + "0" * 5000, 1).encode(), lambda text: b"[" * 100_000,
        lambda text: text.replace('"bbox": ', '"bbox": [0, 0, 1, 1], "bbox": ').encode(),
        lambda text: text.replace('"images": ', '"images": [], "images": ').encode(),
        lambda text: text.replace('"id": ', '"id": ' + "[" * 900 + "]" * 900 + ', "Id": ', 1).encode(),
        lambda text: text.replace('"', "'").encode(), lambda text: json.dumps(text).encode(),
        lambda text: _with_flipped_bytes(text.encode(), data.rng), lambda text: f"[{text}]".encode(),
    ]  # fmt: skip
    form = data.pick(forms)
    for name in data.damaged:
        path = data.root / "annotations" / name
        path.write_bytes(form(path.read_text()))


def other_files(data: DataSet) -> None:
    """Annotation files or folders that are missing, of the other split, or no files."""
    kind = data.pick(["gone", "folder", "swapped", "images gone", "moved", "link"])
    name = data.pick(data.damaged)
    path = data.root / "annotations" / name
    split = SPLITS[SPLITS[1] in name]
    if kind == "swapped":
        shutil.copy(data.root / "annotations" / name.replace(split, SPLITS[split == SPLITS[0]]), path)
    elif kind == "images gone":
        shutil.rmtree(data.root / split)
    elif kind == "moved":
        (data.root / "images").mkdir()
        (data.root / split).rename(data.root / "images" / split)
    else:
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(path.name)


def other_image(data: DataSet) -> None:
    """An image file that is cut, damaged, replaced, or of another mode or size."""
    folder = data.root / data.pick(list(SPLITS))
    path = data.pick(sorted(folder.iterdir()))
    modes = ["L", "LA", "RGBA", "P", "1", "I;16", "I", "F", "CMYK", "YCbCr"]
    kind = data.pick(["cut", "empty", "text", "folder", "link", "flipped", "size", "thin", "turned", "huge", *modes])
    content = path.read_bytes()
    if kind in ("folder", "link"):
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to(path.name)
    elif kind in ("cut", "empty", "text", "flipped"):
        bad = {"cut": content[: len(content) // 2], "empty": b"", "text": b"version https://git-lfs", "flipped": None}
        path.write_bytes(_with_flipped_bytes(content, data.rng) if bad[kind] is None else bad[kind])
    elif kind == "huge":  # a header that says 60,000 x 60,000 pixels
        Image.new("L", (8, 8)).save(path, format="PNG")
        content = path.read_bytes()
        path.write_bytes(content[:16] + (60_000).to_bytes(4, "big") * 2 + content[24:])
    else:
        image = Image.open(path)
        image.load()
        _save_other(image, kind, path)


def _save_other(image: Image.Image, kind: str, path: Path) -> None:
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = 6
        image.save(path, format="JPEG", exif=exif)
    elif kind in ("size", "thin"):
        image.resize((image.width + 3, 2) if kind == "thin" else (image.height, image.width)).save(path, format="PNG")
    elif kind in ("I;16", "I", "F"):
        levels = np.asarray(image.convert("L"), dtype={"I;16": np.uint16, "I": np.int32, "F": np.float32}[kind])
        Image.fromarray(levels).save(path, format="TIFF")
    else:
        image.convert(kind).save(path, format="TIFF")


def _with_flipped_bytes(content: bytes, rng: Generator) -> bytes:
    damaged = np.frombuffer(content, dtype=np.uint8).copy()
    damaged[rng.integers(0, len(damaged), 20)] ^= rng.integers(1, 256, 20, dtype=np.uint8)
    return damaged.tobytes()


FILE_MUTATIONS = [other_text, other_text, other_text, other_files, other_image, other_image, other_image]
