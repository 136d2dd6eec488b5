"""How often a planner finds the edits that were made: operators, order, parameters; ``planning_pairs`` has the pairs.

    cd benchmarks
    export PYTHONPATH=.:..:../python LDIE_SHARED=...
    python -m editing.planning_study --planners joint --out editing/planning_study.json
    python -m editing.planning_study --planners original --out editing/planning_study_original.json

Of each pair it is asked whether the plan's operators are those of the truth, all and no others (*set*), and whether
they are in an order that is right (*sequence*): the true one, or one whose refitted distance exceeds the true order's
by no more than the margin ``2 q / sqrt(48 n)``, q = 1 / 255, n values in the image: twice the standard deviation that
rounding to 8 bits gives a mean absolute distance (1.0e-5 for 64 x 64). The true order is refitted both from where the
planner begins and from the true parameters, and the nearer result counts. *Same* is the share of plans whose order is
the true one, or whose distance lies within the margin on both sides: a plan may also beat the truth. *Exact* is the
share of plans that are the true order to the letter, and *chance* the share of all orders of the true operators that
would have counted as right, for some edits commute. A low distance is not recovery: it stands beside the shares and
never for them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import machine
import torch
from editing.planning_pairs import HELD_OUT_SEED, ROWS, TUNING_SEED, Row, StudyPair, pairs, photographs

from ldie_ext.ops.editing._greedy_search import Greedy, Partial
from ldie_ext.ops.editing._plan_pair import Pair
from ldie_ext.ops.editing._plans import Plan, Step
from ldie_ext.ops.editing.plan_edits import plan_jointly
from ldie_ext.ops.editing.quantisation import TOLERANCE, margin_of

PAIRS, GREEDY_PAIRS = 100, 20
Planner = Callable[[Pair, Row], Plan]


@dataclass(frozen=True)
class Score:
    """One pair's plan beside the truth."""

    photograph: bool
    truth: tuple[str, ...]
    plan: tuple[str, ...]
    right_set: bool
    right_sequence: bool
    same: bool
    exact: bool
    chance: float
    before: float
    distance: float
    true_distance: float
    parameter_error: float | None
    """Mean absolute difference of the scalar parameters, where the order is the true one."""
    seconds: float


def joint(pair: Pair, row: Row) -> Plan:
    """This library's planner."""
    return plan_jointly(pair, [Step(op.name) for op in row.operators], row.steps, TOLERANCE)[0]


def original(pair: Pair, row: Row) -> Plan:
    """The original: beam 3, one step after another, Nelder-Mead."""
    pair.by_simplex = True
    candidates = [Step(op.name) for op in row.operators]
    return Greedy().search(Partial(pair.unedited(), pair.image), candidates, row.steps, pair.fit_steps)[0]


PLANNERS: dict[str, Planner] = {"joint": joint, "original": original}


def score(made: StudyPair, row: Row, planner: Planner) -> Score:
    """Plans one pair and looks at what came out."""
    pair = Pair(made.image, made.target)
    before = pair.unedited().distance
    start = time.perf_counter()
    plan = planner(pair, row)
    seconds = time.perf_counter() - start
    found = tuple(step.name for step in plan.order)
    right_set = sorted(found) == sorted(made.names)
    true_distance = refitted(made, made.names, made.params)
    order_distance = plan.distance if not right_set else min(plan.distance, refitted(made, found))
    excess = order_distance - true_distance
    margin = margin_of(made.image.numel())
    exact = found == made.names
    scalars = [k for k, name in enumerate(found) if "CURVE" not in name] if exact else []
    error = (plan.params[scalars, 0] - made.params[scalars, 0]).abs().mean() if scalars else None
    return Score(
        photograph=made.photograph,
        truth=made.names,
        plan=found,
        right_set=right_set,
        right_sequence=right_set and (exact or excess <= margin),
        same=right_set and (exact or abs(excess) <= margin),
        exact=exact,
        chance=chance(made, true_distance + margin),
        before=before,
        distance=plan.distance,
        true_distance=true_distance,
        parameter_error=None if error is None else float(error),
        seconds=seconds,
    )


def refitted(made: StudyPair, names: Sequence[str], params: torch.Tensor | None = None) -> float:
    """The distance of an order when all its parameters are fitted together, also from given ones on."""
    pair, order = Pair(made.image, made.target), tuple(map(Step, names))
    plans = pair.fit_orders([order])
    if params is not None:
        plans.append(pair.refined(order, params))
    return min(plan.distance for plan in plans)


def chance(made: StudyPair, limit: float) -> float:
    """The share of the true operators' orders that, refitted, come as near as that."""
    plans = Pair(made.image, made.target).fit_orders([tuple(map(Step, order)) for order in permutations(made.names)])
    return sum(plan.distance <= limit for plan in plans) / len(plans)


def measure(row: Row, planner: str, count: int, seed: int) -> list[Score]:
    """The scores of a row's pairs."""
    scores = []
    for index, made in enumerate(pairs(row, count, seed)):
        scores.append(score(made, row, PLANNERS[planner]))
        print(f"\r{row.name}, K={row.steps}, {planner}: {index + 1} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return scores


def summary(row: Row, planner: str, scores: Sequence[Score]) -> dict[str, Any]:
    """A row's shares and means."""
    errors = [each.parameter_error for each in scores if each.parameter_error is not None]
    kinds = {"scenes": False, "photographs": True}
    return {
        "operators": row.name,
        "steps": row.steps,
        "planner": planner,
        "pairs": len(scores),
        **{name: _mean(scores, name) for name in ("right_set", "right_sequence", "same", "exact", "chance")},
        "least_set": row.least_set,
        "least_sequence": row.least_sequence,
        **{f"sequence of {kind}": _mean([each for each in scores if each.photograph == value], "right_sequence")
           for kind, value in kinds.items()},
        **{name: _mean(scores, name) for name in ("before", "distance", "true_distance", "seconds")},
        "parameter_error": sum(errors) / len(errors) if errors else None,
    }  # fmt: skip


def table(summaries: Sequence[dict[str, Any]]) -> str:
    """The summaries as Markdown."""
    lines = [
        "| edits and candidates | K | planner | pairs | set | sequence | same | exact | chance | sequence, photographs "
        "| L1 before, planned, true | scalar error | s a pair |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in summaries:
        goals = [f" (≥ {goal:.2f})" if goal and each["planner"] == "joint" else ""
                 for goal in (each["least_set"], each["least_sequence"])]  # fmt: skip
        distances = ", ".join(f"{each[name]:.4f}" for name in ("before", "distance", "true_distance"))
        lines.append(
            f"| {each['operators']} | {each['steps']} | {each['planner']} | {each['pairs']} | "
            f"{each['right_set']:.2f}{goals[0]} | {each['right_sequence']:.2f}{goals[1]} | {each['same']:.2f} | "
            f"{each['exact']:.2f} | {each['chance']:.2f} | {_shown(each['sequence of photographs'], '.2f')} | "
            f"{distances} | {_shown(each['parameter_error'], '.4f')} | {each['seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _mean(scores: Sequence[Score], name: str) -> float | None:
    return sum(float(getattr(each, name)) for each in scores) / len(scores) if scores else None


def main() -> int:
    """Measures the rows, prints a table, and writes it and every score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE", help="a JSON file of all scores; a table goes beside it")
    parser.add_argument("--rows", type=int, nargs="+", default=range(len(ROWS)), metavar="N", help="rows, from 0 on")
    parser.add_argument("--planners", nargs="+", choices=PLANNERS, default=list(PLANNERS))
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of a row (default: %(default)s)")
    parser.add_argument("--greedy-pairs", type=int, default=GREEDY_PAIRS, help="of the original (default: %(default)s)")
    parser.add_argument("--tuning", action="store_true", help="on the pairs for tuning instead of those held out")
    options = parser.parse_args()
    seed = TUNING_SEED if options.tuning else HELD_OUT_SEED
    if not photographs(seed):
        print("no photographs: LDIE_SHARED has no data/coco_free; generated scenes alone", file=sys.stderr)
    summaries, details = [], []
    for number in options.rows:
        for planner in options.planners:
            row, count = ROWS[number], options.pairs if planner == "joint" else options.greedy_pairs
            scores = measure(row, planner, count, seed)
            summaries.append(summary(row, planner, scores))
            details.append([asdict(each) for each in scores])
            if options.out:
                write(options.out, seed, summaries, details)
    print(table(summaries))
    return 0


def write(path: Path, seed: int, summaries: list[dict[str, Any]], details: list[list[dict[str, Any]]]) -> None:
    """A JSON file of all, a line for each pair, and the table beside it."""
    document = {
        "machine": machine.describe(),
        "threads": torch.get_num_threads(),
        "seed": seed,
        "tolerance": TOLERANCE,
        "rows": summaries,
    }
    head = json.dumps(document, indent=1).removesuffix("\n}")
    rows = ",\n".join("  [\n" + ",\n".join(f"   {json.dumps(each)}" for each in scores) + "\n  ]" for scores in details)
    path.write_text(f'{head},\n "scores": [\n{rows}\n ]\n}}\n')
    path.with_suffix(".md").write_text(table(summaries))


if __name__ == "__main__":
    sys.exit(main())
