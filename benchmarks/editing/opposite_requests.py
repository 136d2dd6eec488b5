"""Whether opposite requests move photographs in opposite directions.

    cd benchmarks
    PYTHONPATH=.:..:../python LDIE_SHARED=... python -m editing.opposite_requests ../runs/editing

Each photograph is edited at its own size by a trained editor, with a request and its opposite. Counted is how often the
one raises and the other lowers the mean luminance, the mean saturation (of HSV) or the contrast (the standard deviation
of the luminance).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from editing.planning_pairs import PHOTOGRAPHS, photographs
from ldie.engine import checkpoint
from ldie.inference import load_checkpoint
from ldie.tasks.detection.images import read_image
from ldie.tasks.editing.replay import picture_of
from ldie.tasks.editing.sample import EditInput
from torch import Tensor


def luminance(image: Tensor) -> Tensor:
    """Of each pixel of uint8 [3, H, W]."""
    return (image.float() / 255 * torch.tensor([0.27, 0.67, 0.06]).view(3, 1, 1)).sum(0)


def saturation(image: Tensor) -> Tensor:
    """Of HSV, of each pixel."""
    value, least = image.float().amax(0), image.float().amin(0)
    return (value - least) / value.clamp(min=1)


MOVED: dict[str, tuple[str, str, Callable[[Tensor], float]]] = {
    "luminance": ("make it brighter", "make it darker", lambda image: float(luminance(image).mean())),
    "saturation": ("increase the saturation", "reduce the saturation", lambda image: float(saturation(image).mean())),
    "contrast": ("more contrast", "less contrast", lambda image: float(luminance(image).std())),
}


def shares(run: Path) -> dict[str, float]:
    """How often each measure is moved in opposite directions."""
    model = load_checkpoint(checkpoint.find_weights(run), torch.device("cpu")).model
    files, right = [file for seed in PHOTOGRAPHS for file in photographs(seed)], dict.fromkeys(MOVED, 0)
    with torch.no_grad():
        for file in files:
            image = read_image(file)
            for name, (more, less, measure) in MOVED.items():
                inputs = [EditInput(image, more), EditInput(image, less)]
                up, down = (picture_of(*pair) for pair in zip(inputs, model.predict(inputs), strict=True))
                right[name] += measure(up) > measure(image) > measure(down)
    return {"photographs": len(files)} | {name: count / len(files) for name, count in right.items()}


def main() -> int:
    """Prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a work folder of ldie train editing")
    for name, value in shares(parser.parse_args().run).items():
        print(f"{name:<12} {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
