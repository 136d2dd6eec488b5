"""Writes ``torchvision_names.txt``: what the tensors of torchvision's detection models are called (needs torchvision).

A section for the backbone, which all have, and one for the rest of each model; a line for each tensor: name, shape, and
the name it had before version 0.13 where that was another. The old names are tried: torchvision must take a whole model
under them.
"""

from __future__ import annotations

import re
from pathlib import Path

import torchvision
from torchvision.models import detection

MODELS = {"keypointrcnn_resnet50_fpn": True, "maskrcnn_resnet50_fpn": True, "maskrcnn_resnet50_fpn_v2": False}
"""And whether there are files with old names."""
OLD = {
    r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.0\.": r"backbone.fpn.\1_blocks.\2.",
    r"rpn\.head\.conv\.0\.0\.": r"rpn.head.conv.",
    r"roi_heads\.mask_head\.(\d)\.0\.": lambda match: f"roi_heads.mask_head.mask_fcn{int(match[1]) + 1}.",
}


def old_name(name: str) -> str:
    for pattern, old in OLD.items():
        name = re.sub(pattern, old, name)
    return name


def main() -> None:
    sections: dict[str, list[str]] = {"backbone": []}
    for kind, has_old in MODELS.items():
        model = getattr(detection, kind)(weights=None, weights_backbone=None)
        tensors = model.state_dict()
        if has_old:
            model.load_state_dict({old_name(name): value for name, value in tensors.items()})
        lines: dict[bool, list[str]] = {True: [], False: []}
        for name, value in tensors.items():
            before = {old_name(name)} - {name} if has_old else set()
            shape = ",".join(map(str, value.shape)) or "-"
            lines[name.startswith("backbone.body.")].append(" ".join([name, shape, *before]))
        assert sections["backbone"] in ([], lines[True])
        sections |= {"backbone": lines[True], kind: lines[False]}
    text = f"# torchvision {torchvision.__version__}\n"
    text += "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())
    Path(__file__).with_name("torchvision_names.txt").write_text(text)


if __name__ == "__main__":
    main()
