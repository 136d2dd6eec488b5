# SPDX-License-Identifier: Apache-2.0
"""Data sets in the formats of other tools, made of a few gray images of 20 x 40 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

SIZE = (20, 40)


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (90, 90, 90)).save(path)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def yolo(root: Path, lines: Mapping[str, str | None], names: str = "[cat, dog]", more: str = "") -> Path:
    """``images/train/NAME.png`` with a label file of these lines, or with none; the same once more for ``val``."""
    for split in ("train", "val"):
        for name, content in lines.items():
            picture(root / "images" / split / f"{name}.png")
            if content is not None:
                text(root / "labels" / split / f"{name}.txt", content)
    text(root / "data.yaml", f"train: images/train\nval: images/val\nnames: {names}\n{more}")
    return root


def voc_object(name: str, box: tuple[float, ...], more: str = "") -> str:
    xmin, ymin, xmax, ymax = box
    ends = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object>\n<name>{name}</name>{more}<bndbox>{ends}</bndbox></object>\n"


def voc(root: Path, objects: Mapping[str, str], size: str = "<width>40</width><height>20</height>") -> Path:
    """``JPEGImages/NAME.png`` with these objects; all in ``train``, the first also in ``val``."""
    for name, content in objects.items():
        picture(root / "JPEGImages" / f"{name}.png")
        head = f"<annotation>\n<filename>{name}.png</filename>\n<size>{size}</size>\n"
        text(root / "Annotations" / f"{name}.xml", f"{head}{content}</annotation>\n")
    text(root / "ImageSets" / "Main" / "train.txt", "\n".join(objects) + "\n")
    text(root / "ImageSets" / "Main" / "val.txt", next(iter(objects)) + "\n")
    text(root / "ImageSets" / "Main" / "cat_train.txt", "".join(f"{name}  1\n" for name in objects))
    return root
