# SPDX-License-Identifier: Apache-2.0
"""Edits planned on a discriminator against the truth: how often their operators are the right ones, and by chance.

python benchmarks/editing/discriminator_planning.py runs/edit_discriminator [--count 100] [--split val]

Chance, for requests of K steps: one of the sets of K of the n operators, all as likely, K being known: 1 / C(n, K).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from math import comb
from statistics import mean
from typing import Any

import ldie
from ldie.systems.edit_discriminator import EditDiscriminator
from ldie.systems.edit_discriminator.planning import REFINEMENTS, UNREFINED, plan_by_discriminator
from ldie.tasks.editing import TASK
from ldie.tasks.editing.metrics.image_metrics import l1
from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.sample import EditSample


def planned(model: EditDiscriminator, sample: EditSample, max_steps: int, beam: int, refine: bool) -> dict[str, float]:
    """How a plan compares with a sample's truth."""
    assert sample.steps is not None and sample.target is not None
    search = (model.operators, max_steps, beam, sample.region, REFINEMENTS if refine else UNREFINED)
    plan = plan_by_discriminator(model, sample.source, sample.request, *search)
    found, truth = plan.steps.ops.tolist(), sample.steps.ops.tolist()
    result = replayed(sample.source, plan.steps, sample.region)
    return {
        "set": float(set(found) == set(truth)),
        "hits": len(set(found) & set(truth)) / len(truth),
        "steps": float(len(found)),
        "realness": plan.realness,
        "l1_input": float(l1(sample.source[None], sample.target[None])),
        "l1": float(l1(result[None], sample.target[None])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="of edit_discriminator, or a run's folder")
    parser.add_argument("--count", type=int, default=100, help="requests, the first of the split")
    parser.add_argument("--split", default="val")
    parser.add_argument("--beam", type=int, default=3)
    parser.add_argument("--refine", action="store_true", help="refine parameters by gradient ascent")
    parser.add_argument("--cache", help="folder with generated requests (default: the run's)")
    arguments = parser.parse_args()
    predictor = ldie.load(arguments.checkpoint, "cpu")
    model: Any = predictor.model
    if not isinstance(model, EditDiscriminator):
        parser.error(
            f"{predictor.origin} is of system {predictor.system.name}, not edit_discriminator; give one of that"
        )
    config = model.config
    if arguments.cache:
        config = replace(config, dataset=replace(config.dataset, cache=arguments.cache))
    (data,) = TASK.open(config, [arguments.split])
    samples = [data[index] for index in range(min(arguments.count, len(data)))]
    longest = max(len(sample.steps) for sample in samples if sample.steps is not None)
    rows, start = defaultdict(list), time.perf_counter()
    for sample in samples:
        assert sample.steps is not None
        rows[len(sample.steps)].append(planned(model, sample, longest, arguments.beam, arguments.refine))
    seconds = (time.perf_counter() - start) / len(samples)
    print(f"{arguments.split}, {len(model.operators)} operators, beam {arguments.beam}, {seconds:.2f} s a request\n")
    print("| K | n | set match | chance | operators found | steps | realness | L1 in | L1 out |")
    print("|---" * 9 + "|")
    for count, each in sorted(rows.items()):
        print_row(str(count), each, 1 / comb(len(model.operators), count))
    together = [row for each in rows.values() for row in each]
    chance = sum(len(each) / comb(len(model.operators), count) for count, each in rows.items()) / len(together)
    print_row("all", together, chance)


def print_row(name: str, rows: list[dict[str, float]], chance: float) -> None:
    means = {key: mean(row[key] for row in rows) for key in rows[0]}
    figures = (
        f"{means['set']:.3f} | {chance:.3f} | {means['hits']:.3f} | {means['steps']:.2f} | {means['realness']:.3f}"
    )
    print(f"| {name} | {len(rows)} | {figures} | {means['l1_input']:.4f} | {means['l1']:.4f} |")


if __name__ == "__main__":
    main()
