"""The original planner as it was: each evaluation of the simplex search edits one image by eager operators through HSV.

    cd benchmarks && PYTHONPATH=.:..:../python python -m editing.original_planner

times it on one pair of 128 x 128 beside ``plan_edits``, over the same operators, and the original's search with this
library's operators. Both begin with the same 8-bit target; what they found and how near it is stands beside the times.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence

import torch
from editing.planning_pairs import ALL, TUNING_SEED
from ldie.tasks.editing.synedit.synedit_pairs import syn_pair
from torch import Tensor

from ldie_ext import EditOp
from ldie_ext.ops.editing._greedy_search import Greedy, Partial
from ldie_ext.ops.editing._plan_pair import Pair
from ldie_ext.ops.editing._plans import Order, Plan, Step
from ldie_ext.ops.editing.plan_edits import plan_jointly

SIDE, STEPS = 128, 2
EDITS = (EditOp.BRIGHTNESS, EditOp.TONE_CURVE)
"""Of the pair that is timed: one number and a curve."""
NOISE = 0.02
"""What keeps every plan away from the target."""


def to_hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in [0, 1), saturation and value of RGB [3, H, W]."""
    value, least = x.amax(0), x.amin(0)
    chroma = value - least
    safe = torch.where(chroma > 0, chroma, 1.0)
    r, g, b = x
    sixths = torch.where(r == value, (g - b) / safe, torch.where(g == value, 2 + (b - r) / safe, 4 + (r - g) / safe))
    saturation = torch.where(value > 0, chroma / torch.where(value > 0, value, 1.0), 0.0)
    return (sixths / 6) % 1, saturation, value


def to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Back, by the table of six sectors."""
    sector = (hue * 6).floor()
    part = hue * 6 - sector
    p, q, t = (value * (1 - saturation * each) for each in (torch.ones_like(part), part, 1 - part))
    rows = ((value, q, p, p, t, value), (t, value, value, q, p, p), (p, p, t, value, value, q))
    index = (sector.long() % 6)[None]
    return torch.stack([torch.stack(row).gather(0, index)[0] for row in rows])


def brightness(x: Tensor, p: Tensor) -> Tensor:
    hue, saturation, value = to_hsv(x)
    return to_rgb(hue, saturation, (value * (1 + p[0])).clamp(0, 1))


def contrast(x: Tensor, p: Tensor) -> Tensor:
    light = (0.27 * x[0] + 0.67 * x[1] + 0.06 * x[2]).clamp(0, 1)
    return torch.lerp(x, x * ((1 - torch.cos(math.pi * light)) / 2 / (light + 1e-6)), p[0])


def saturation(x: Tensor, p: Tensor) -> Tensor:
    hue, old, value = to_hsv(x)
    return to_rgb(hue, (old * (1 + p[0])).clamp(0, 1), value)


def curve(x: Tensor, weights: Tensor) -> Tensor:
    total = sum((x - i / 8).clamp(0, 1 / 8) * weights[:, i, None, None] for i in range(8))
    return total * (8 / weights.sum(1))[:, None, None]


def sharpness(x: Tensor, p: Tensor) -> Tensor:
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]).expand(3, 1, 3, 3)
    return x + p[0] * torch.nn.functional.conv2d(x[None], kernel, padding=1, groups=3)[0]


OPERATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "BRIGHTNESS": brightness,
    "CONTRAST": contrast,
    "SATURATION": saturation,
    "SHARPNESS": sharpness,
    "TONE_CURVE": lambda x, p: curve(x, p[None, :8]),
    "COLOR_CURVE": lambda x, p: curve(x, p.view(3, 8)),
}


class EagerPair(Pair):
    """A pair whose images are edited by the operators above."""

    def edited(self, image: Tensor, order: Order, params: Tensor) -> Tensor:
        """As that of :class:`Pair`."""
        for step, row in zip(order, params, strict=True):
            image = OPERATORS[step.name](image, row).clamp(0, 1)
        return image


def beam(pair: Pair, operators: Sequence[EditOp], steps: int) -> Plan:
    """The original's search: beam 3, Nelder-Mead."""
    pair.by_simplex = True
    candidates = [Step(op.name) for op in operators]
    return Greedy().search(Partial(pair.unedited(), pair.image), candidates, steps, pair.fit_steps)[0]


def main() -> int:
    """Times the three of them, and ``plan_edits`` also where nothing ends its search early."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="edits at most (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of plan_edits, of which the quickest counts")
    options = parser.parse_args()
    made = syn_pair(TUNING_SEED, SIDE, EDITS, len(EDITS))
    image, target = (each.permute(2, 0, 1).float() / 255 for each in (made.source, made.target))
    truth = ", ".join(EditOp(op).name for op in made.ops.tolist())
    print(f"{SIDE} x {SIDE}, {torch.get_num_threads()} threads, truth: {truth}; up to {options.steps} of {len(ALL)}")
    candidates = [Step(op.name) for op in ALL]

    def joint(target: Tensor) -> tuple[float, Plan]:
        runs = [timed(lambda: plan_jointly(Pair(image, target), candidates, options.steps)[0])
                for _ in range(options.repeats)]  # fmt: skip
        return min(runs, key=lambda run: run[0])

    seconds, plan = joint(target)
    report("plan_edits, joint", seconds, plan, seconds)
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0)) * NOISE
    report("plan_edits, joint, all orders (a target with noise)", *joint((target + noise).clamp(0, 1)), seconds)
    for name, pair in (("original search, fused operators", Pair(image, target)),
                       ("original search, eager operators", EagerPair(image, target))):  # fmt: skip
        taken, found = timed(lambda pair=pair: beam(pair, ALL, options.steps))
        report(f"{name}, {pair.evaluations} evaluations", taken, found, seconds)
    return 0


def timed(call: Callable[[], Plan]) -> tuple[float, Plan]:
    """Seconds and result of a call."""
    start = time.perf_counter()
    plan = call()
    return time.perf_counter() - start, plan


def report(name: str, seconds: float, plan: Plan, ours: float) -> None:
    """One line."""
    steps = ", ".join(step.name for step in plan.order)
    print(f"{name}: {seconds:.3f} s ({seconds / ours:.0f} x), L1 {plan.distance:.5f}, found: {steps}")


if __name__ == "__main__":
    sys.exit(main())
