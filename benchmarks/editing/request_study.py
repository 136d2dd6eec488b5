"""What the editor learns from generated requests, setting by setting, beside what learns nothing.

    cd benchmarks
    PYTHONPATH=.:..:../python python -m editing.request_study --work ../runs/request_study

Every setting is trained by ``ldie train`` with the options that stand in ``SETTINGS``, in a folder of its own; what is
there already is not trained again. All learn from the same 8000 requests, or from the first 1000 of
them with the steps that ``plan_edits`` finds between source and target, and are measured on three splits: *random*
(other pictures), *paraphrase* (other phrases of the same words) and *combination* (operators together, or in an order,
as never in training). Controls learn nothing: keyword rules, the full setting given the requests of other samples
(*shuffled*), and the source as it is (*identity*).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import machine
import torch
from ldie.contract import Model
from ldie.inference import load_checkpoint
from ldie.systems import get_system
from ldie.tasks.editing.catalog import generated, open_split
from ldie.tasks.editing.dataset import EditDataset
from ldie.tasks.editing.metrics.image_metrics import language_sensitivity, request_variance
from ldie.tasks.editing.metrics.request_metrics import edit_metrics
from ldie.tasks.editing.published.plan_pairs import plan_pairs
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSample, EditSequence
from ldie.tasks.editing.words.rule_parser import predict_by_rules

SPLITS = {"random": "val", "paraphrase": "paraphrase", "combination": "combination"}
PICTURES = 50
"""Whose answers to the ten fixed requests are compared."""
AT_ONCE = 100
PLANNED = 1000
Predict = Callable[[Sequence[EditInput]], Sequence[EditPrediction]]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained."""

    seeds: int = 1
    options: tuple[str, ...] = ()
    system: str = "editing"
    preset: str = "tiny"


SETTINGS = {
    "full": Setting(3),
    "no image": Setting(3, ("model.image.enabled=false",)),
    "no language": Setting(1, ("model.language.enabled=false",)),
    "full, twice as long": Setting(1, ("solver.max_iter=3000",)),
    "+L1": Setting(1, ("solver.training=l1", "solver.max_iter=3000")),
    "GAN": Setting(1, preset="tiny_gan"),
    "AdaptGAN": Setting(1, preset="tiny_adapt_gan"),
    "REINFORCE": Setting(3, preset="tiny_reinforce"),
    "1000 with steps known": Setting(1, ("dataset.limit=1000",)),
    "1000 with steps planned": Setting(1, ("dataset.plans={work}/plans.json",)),
    "classifier": Setting(1, system="edit_classifier"),
    "classifier, no image": Setting(1, ("model.image.enabled=false",), system="edit_classifier"),
    "self-discriminator": Setting(1, system="edit_discriminator"),
}


def folder_of(work: Path, name: str, seed: int) -> Path:
    """Where a setting's run is."""
    return work / f"{name.replace(' ', '_').replace(',', '')}_{seed}"


def plan(work: Path) -> None:
    """Plans the first pairs, unless they are planned."""
    config = dataclasses.replace(get_system("editing").preset("tiny"), output_dir=str(work))
    dataset = generated(config, config.dataset, "train")
    first = itertools.islice(dataset.pairs().items(), PLANNED)

    class First:
        size, read_pair = dataset.size, staticmethod(dataset.read_pair)
        pairs = staticmethod(lambda: dict(first))

    found = plan_pairs(First(), work / "plans.json", operators=dataset.operators, max_steps=3)
    right = [
        sorted(found.steps(*pair).ops.tolist()) == sorted(dataset[row].steps.ops.tolist())
        for pair, row in dataset.pairs().items()
        if pair in found.plans
    ]
    print(f"plans of {len(right)} pairs have the true operators in {mean(right):.3f} of them", flush=True)


def train(work: Path, name: str, seed: int, threads: int) -> None:
    """Trains a setting unless it is trained."""
    setting, folder = SETTINGS[name], folder_of(work, name, seed)
    if (folder / "metrics.json").exists():
        return
    options = [f"dataset.cache={work}", *(option.format(work=work) for option in setting.options)]
    command = [sys.executable, "-m", "ldie", "train", setting.system, "--preset", setting.preset, "--seed", str(seed),
               "--work-dir", str(folder), "--overwrite", "--device", "cpu", "--set", *options]  # fmt: skip
    print("training", folder.name, flush=True)
    log = folder.with_suffix(".log")
    with log.open("w") as file:
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{folder.name}: {log.read_text()[-2000:]}")


def predicted(predict: Predict, inputs: Sequence[EditInput]) -> list[EditPrediction]:
    """All predictions."""
    found: list[EditPrediction] = []
    for first in range(0, len(inputs), AT_ONCE):
        found += predict(inputs[first : first + AT_ONCE])
    return found


def measured(predict: Predict, samples: Sequence[EditSample], shift: int = 0) -> dict[str, float]:
    """The metrics of a split; with a shift, each sample is answered with the request of another."""
    inputs = [
        EditInput(sample.source, samples[(row + shift) % len(samples)].request, sample.region)
        for row, sample in enumerate(samples)
    ]
    return edit_metrics(samples, predicted(predict, inputs))


def listening(predict: Predict, samples: Sequence[EditSample]) -> dict[str, float]:
    """How much answers to the ten fixed requests differ."""
    pictures = [sample.source for sample in samples[:PICTURES]]
    return {
        "actor/variance": request_variance(predict, pictures),
        "actor/sensitivity": language_sensitivity(predict, pictures),
    }


def identity(inputs: Sequence[EditInput]) -> list[EditPrediction]:
    """Leaves every picture as it is."""
    return [EditPrediction(EditSequence.empty(), each.image) for each in inputs]


@torch.no_grad()
def measure(work: Path) -> dict[str, Any]:
    """Metrics of all that is trained, and of the controls, by split."""
    config = dataclasses.replace(get_system("editing").preset("tiny"), output_dir=str(work))
    data: dict[str, EditDataset] = {name: open_split(config, split) for name, split in SPLITS.items()}
    samples = {name: [split[i] for i in range(len(split))] for name, split in data.items()}
    operators = data["random"].operators
    rows: dict[str, Any] = {
        "rules": {
            **{
                split: [measured(lambda inputs: predict_by_rules(inputs, operators), each)]
                for split, each in samples.items()
            }
        },
        "identity": {split: [measured(identity, each)] for split, each in samples.items()},
    }
    for name, setting in SETTINGS.items():
        runs = [folder_of(work, name, seed) for seed in range(setting.seeds)]
        runs = [run for run in runs if (run / "metrics.json").exists()]
        if not runs:
            continue
        if setting.system != "editing":
            rows[name] = {"random": [json.loads((run / "metrics.json").read_text()) for run in runs]}
            continue
        models = [load_checkpoint(run / "checkpoints" / "best.safetensors", torch.device("cpu")).model for run in runs]
        rows[name] = measured_rows(models, samples)
        if name == "full":
            rows["full, requests shuffled"] = {
                split: [measured(model.predict, each, shift=len(each) // 2) for model in models]
                for split, each in samples.items()
            }
    return rows


def measured_rows(models: Sequence[Model], samples: dict[str, list[EditSample]]) -> dict[str, list[dict[str, float]]]:
    """Of each model on each split; on the first also how it listens."""
    rows = {split: [measured(model.predict, each) for model in models] for split, each in samples.items()}
    for row, model in zip(rows["random"], models, strict=True):
        row |= listening(model.predict, samples["random"])
    return rows


COLUMNS = {
    "sequence": "actor/sequence_exact",
    "set": "actor/set_exact",
    "MAE": "actor/parameter_mae",
    "fix MAE": "actor/fix_mae",
    "L1 in": "actor/l1_input",
    "L1 out": "actor/l1",
    "SSIM": "actor/ssim",
    "variance": "actor/variance",
    "sensitivity": "actor/sensitivity",
    "AUC": "classifier/auc",
    "accuracy": "discriminator/accuracy",
}


def table(rows: dict[str, Any]) -> str:
    """Means over seeds as Markdown, one table a split; where there are several seeds, with the least and the most."""
    lines = []
    for split in SPLITS:
        lines += [
            f"\n**{split}**\n",
            "| setting | seeds | " + " | ".join(COLUMNS) + " |",
            "|---" * (2 + len(COLUMNS)) + "|",
        ]
        for name, splits in rows.items():
            runs = splits.get(split)
            if runs:
                cells = " | ".join(_cell([run[key] for run in runs if key in run]) for key in COLUMNS.values())
                lines.append(f"| {name} | {len(runs)} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    text = _number(mean(values))
    return text if len(values) == 1 else f"{text} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:.3g}"


def rewards(work: Path) -> dict[str, list[float]]:
    """Of each run that learned from rewards: the mean reward of an episode, log line by log line."""
    curves = {}
    for seed in range(SETTINGS["REINFORCE"].seeds):
        log = folder_of(work, "REINFORCE", seed) / "log.jsonl"
        if log.exists():
            records = map(json.loads, log.read_text().splitlines())
            curves[f"seed {seed}"] = [record["reward"] for record in records if record.get("reward") is not None]
    return curves


def reward_table(curves: dict[str, list[float]]) -> str:
    """The first, a middle and the last reward of each run."""
    lines = [
        "\n**Rewards of REINFORCE**, the mean of 50 steps\n",
        "| run | first | middle | last |",
        "|---|---|---|---|",
    ]
    for name, curve in curves.items():
        lines.append(f"| {name} | " + " | ".join(_number(curve[place]) for place in (0, len(curve) // 2, -1)) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Trains what is not trained yet, measures all of it, and writes figures and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for runs and generated requests")
    parser.add_argument("--out", type=Path, default=Path("editing/request_study.json"), metavar="FILE")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of each run (default: %(default)s)")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if any("plans.json" in option for name in options.settings for option in SETTINGS[name].options):
        plan(work)
    runs = [(name, seed) for name in options.settings for seed in range(SETTINGS[name].seeds)]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda run: train(work, *run, options.threads), runs))
    rows, curves = measure(work), rewards(work)
    content = {"machine": machine.describe(), "rows": rows, "rewards": curves}
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    text = table(rows) + (reward_table(curves) if curves else "")
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
