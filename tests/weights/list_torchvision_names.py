"""Writes ``torchvision_names.txt``: what the tensors of torchvision's detection models are called (needs torchvision).

A section for each model, a line for each tensor: name, shape, and the name it had before version 0.13 where that was
another. The old names are tried: torchvision must take a whole model under them.
"""

from __future__ import annotations

import re
from pathlib import Path

import torchvision
from torchvision.models import detection

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
    lines = [f"# torchvision {torchvision.__version__}"]
    for kind in ("keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"):
        model = getattr(detection, kind)(weights=None, weights_backbone=None)
        tensors = model.state_dict()
        model.load_state_dict({old_name(name): value for name, value in tensors.items()})
        lines.append(f"[{kind}]")
        for name, value in tensors.items():
            shape = ",".join(map(str, value.shape)) or "-"
            lines.append(" ".join([name, shape, *({old_name(name)} - {name})]))
    Path(__file__).with_name("torchvision_names.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
