# SPDX-License-Identifier: Apache-2.0
"""Plans as they were published for MA5k-Req: a folder for each record of the training split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ldie.errors import DataError
from ldie.files import first_line
from ldie.tasks.detection.annotations import brief, read_json
from ldie.tasks.editing.published.fivek import FiveK
from ldie.tasks.editing.published.pairs import PairRecord, PublishedPairs
from ldie.tasks.editing.published.plans import MAX_STEPS, Pair, Plan, Plans, checked_plan
from ldie_ext import EditOp, RecipeStep
from ldie_ext.ops.editing.recipe_step import EDIT_KINDS

NAMES = {
    "brightness": EditOp.BRIGHTNESS,
    "contrast": EditOp.CONTRAST,
    "saturation": EditOp.SATURATION,
    "color": EditOp.COLOR_CURVE,
    "tone": EditOp.TONE_CURVE,
    "sharpness": EditOp.SHARPNESS,
}
"""The planned operators by the planner's names, which are not those of annotations."""


def read_published_plans(folder: str | Path, dataset: PublishedPairs, max_steps: int = MAX_STEPS) -> Plans:
    """The plans of MA5k-Req's training pairs, ``folder/train{i}/{i:05d}.json`` for record i of the split's file.

    Each file has the request, the distance before all edits (``init distance``) and, under ``operation sequence``, the
    best plan first, steps of [name, parameters, distance]. The pictures beside them are not read: steps are applied to
    the input instead, whose intermediate results were saved as JPEG and by cutting off fractions of grey levels.

    Args:
        folder: Such as ``output/actions_set_1``.
        dataset: The pairs; those that were left out need no file.
        max_steps: Of a plan that are learnt from.

    Raises:
        DataError: A file is missing, malformed, or of another request; or the data set is not MA5k-Req's.
    """
    folder = Path(folder)
    if not isinstance(dataset, FiveK):
        raise DataError(
            f"{folder}: published plans can be read for MA5k-Req only: GIER's are kept by the input's name, where "
            "pairs that share an input have overwritten each other's; plan the pairs anew"
        )
    plans: dict[Pair, Plan] = {}
    for record in dataset.records:
        path = folder / f"train{record.number}" / f"{record.number:05d}.json"
        plans.setdefault((record.input, record.output), _plan(path, record))
    return Plans(plans, str(folder), max_steps)


def _plan(path: Path, record: PairRecord) -> Plan:
    content = read_json(path)
    try:
        if not isinstance(content, dict):
            raise ValueError(f"expected an object with a plan, got {brief(content)}")
        request = content.get("request")
        named = request[0] if isinstance(request, list) and len(request) == 1 else request
        if named not in record.requests:
            raise ValueError(
                f"is of the request {brief(named)}, but record {record.number} has {brief(record.requests[0])}"
            )
        sequences = content.get("operation sequence")
        if not isinstance(sequences, list) or not all(isinstance(steps, list) for steps in sequences):
            raise ValueError(f"operation sequence must be a list of plans, got {brief(sequences)}")
        parts = [_step(number, step) for number, step in enumerate(sequences[0] if sequences else [])]
        return checked_plan([step for step, _ in parts], [content.get("init distance"), *(d for _, d in parts)])
    except ValueError as error:
        raise DataError(f"{path}: {first_line(error)}; give the plans of this split's file, or plan anew") from None


def _step(number: int, entry: Any) -> tuple[RecipeStep, Any]:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[1], list):
        raise ValueError(f"step {number}: expected a name, parameters and a distance, got {brief(entry)}")
    name, params, distance = entry
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"step {number}: operator must be one of {', '.join(NAMES)}, got {brief(name)}")
    step = RecipeStep(NAMES[name].name, tuple(params))
    if len(step.params) != EDIT_KINDS[step.name].parameters:
        raise ValueError(
            f"step {number}: {name} must have {EDIT_KINDS[step.name].parameters} numbers, got {len(step.params)}"
        )
    return step, distance
