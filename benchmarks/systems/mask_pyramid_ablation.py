# SPDX-License-Identifier: Apache-2.0
"""Ablations of the mask pyramid: what each choice of its preset ``tiny`` is worth, as a page of the docs.

Each row is the preset with one change, trained on the generated shapes. Rows that are done, with the same
configuration, data and budget, are not trained again; one that was interrupted goes on. In the end the page is written,
with a table, curves, and pictures of pyramids growing:

    cd benchmarks && PYTHONPATH=.:..:../python python -m systems.mask_pyramid_ablation --minutes 2

What stands in the page outside of its markers stays. ``--quick`` tries the machinery on a few steps and images, and
leaves the docs alone unless ``--docs`` names them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ldie
import torch
from ldie.cli import main as ldie_command
from ldie.config import merge, override, to_yaml
from ldie.console import INTERRUPTED
from ldie.engine import checkpoint
from ldie.engine.log import read_log
from ldie.files import make_folder, write_text
from ldie.systems.mask_pyramid import SYSTEM, MaskPyramid
from ldie.tasks.detection import CocoDataset, build_shapes
from ldie.tasks.detection.visualization import save_picture
from PIL import Image
from systems.mask_pyramid_limits import Limits, limits
from systems.mask_pyramid_page import Outcome, Row, Run, write_page

ROOT = Path(__file__).resolve().parents[2]
PRESET = "tiny"
BASE = "preset"
PICTURED = (BASE, "generation_1", "loss_l1", "no_teach")
_QUICK_ROWS, _QUICK_STEPS = (BASE, "loss_l1"), 2
_EVALUATIONS = 6
"""Of a run: points of its curve."""
_PICTURED_IMAGES = 2
_PROBE_STEPS = 24
_PROBE = (f"solver.max_iter={_PROBE_STEPS}", "solver.log_step=4", "dataset.limit=8", "dataset.val=train2017")
"""A few steps that tell how long one takes."""


@cache
def rows() -> tuple[Row, ...]:
    """The preset, and all choices that it has not made; ``{sixth}`` in a change is a sixth of the steps."""
    preset = SYSTEM.preset(PRESET)
    return Row(BASE, "", ()), *(row for row in _choices() if override(preset, _changes(row, 6)) != preset)


def _choices() -> list[Row]:
    model = SYSTEM.preset(PRESET).model  # type: ignore[attr-defined]
    assert model.strides == (32, 16, 8, 4)
    alive, newborns = _by_level(model.growth.max_alive, 4), _by_level(model.growth.newborns, 3)
    switches = {
        "offsets": ("place", "model.mask.offsets"),
        "guide": ("growth", "model.growth.guide"),
        "teach": ("learning", "solver.assign.teach"),
        "by_area": ("learning", "solver.loss.by_area"),
    }
    return [
        *(Row(f"generation_{one}", "generation", (f"model.mask.generation={one}",)) for one in (1, 2)),
        *(Row(f"loss_{loss}", "loss", (f"solver.loss.masks=[{loss}]",)) for loss in ("l1", "l2", "ce", "dice")),
        Row("loss_ce_dice", "loss", ("solver.loss.masks=[ce,dice]",)),
        *(
            Row(f"gauss_{mode}", "place", (f"model.mask.gauss_mode={mode}",))
            for mode in ("onehot", "concat", "multiply", "add")
        ),
        Row("start_16", "start", _start(16, (64, *alive[2:]), newborns[1:])),
        Row("start_64", "start", _start(64, (4, *alive), (alive[0], *newborns))),
        *(Row(f"low_thresh_{low}", "growth", (f"model.growth.low_thresh={low}",)) for low in (0.2, 0.5)),
        *(Row(f"topk_{best}", "growth", (f"model.growth.topk_keep={best}",)) for best in (1, 3)),
        *(Row(f"coverage_{kind}", "growth", (f"model.growth.coverage={kind}",)) for kind in ("softmax", "max")),
        *(Row(f"no_{name}", group, (f"{key}=false",)) for name, (group, key) in switches.items()),
        *(Row(name, group, (f"{key}=true",)) for name, (group, key) in switches.items()),
        *(Row(f"supporters_{who}", "learning", (f"solver.assign.supporters={who}",)) for who in ("best", "all")),
        Row("stagewise", "learning", ("solver.stage.levels=1", "solver.stage.steps={sixth}")),
    ]


def _by_level(values: tuple[int, ...], levels: int) -> tuple[int, ...]:
    return values * levels if len(values) == 1 else values


def _start(stride: int, alive: Sequence[int], newborns: Sequence[int]) -> tuple[str, ...]:
    """Another number of levels; every cell of the first starts a hypothesis."""
    return (
        f"model.start_stride={stride}",
        f"model.growth.max_alive={list(alive)}",
        f"model.growth.newborns={list(newborns)}",
    )


@dataclass(frozen=True)
class Study:
    """What all runs have in common.

    Args:
        out: Folder of the runs.
        data: Their data set.
        steps: Of each run; 0: as many as fit into ``minutes``.
        minutes: Of training.
    """

    out: Path
    data: Path
    steps: int
    minutes: float

    @property
    def budget(self) -> str:
        """In words."""
        return f"{self.steps} steps" if self.steps else f"about {self.minutes:g} minutes of training"

    def folder(self, row: Row, seed: int) -> Path:
        """Of a run: another one for every configuration, data set and budget."""
        preset = merge(SYSTEM.preset(PRESET), {"seed": seed})
        config = to_yaml(override(preset, _changes(row, 6)))
        key = "\n".join([config, (self.data / "shapes.json").read_text(), self.budget])
        return self.out / f"{row.name}-{seed}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"

    def run(self, row: Row, seed: int, fresh: bool = False) -> Run:
        """Trains a row, or goes on with it, or reads what it came to.

        Raises:
            SystemExit: The training failed, or was stopped; the code is that of ``ldie train``.
        """
        folder = self.folder(row, seed)
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        steps = self._steps(row, seed, folder)
        if not (folder / "metrics.json").is_file():
            print(f"{folder.name}: {steps} steps", flush=True)
            every = max(1, steps // _EVALUATIONS)
            counts = (f"solver.max_iter={steps}", f"solver.log_step={max(1, steps // 20)}", f"solver.eval_step={every}")
            self._train(folder, seed, [*_changes(row, steps), *counts], resume=bool(checkpoint.resumable(folder)))
        return _read(folder, seed, steps, self.data)

    def _steps(self, row: Row, seed: int, folder: Path) -> int:
        """How many fit into the time, by what they take at the start; kept, as a run that goes on needs the same."""
        kept = folder / "steps.json"
        if kept.is_file():
            return int(json.loads(kept.read_text()))
        steps = self.steps
        if not steps:
            probe = folder / "probe"
            self._train(probe, seed, [*_changes(row, _PROBE_STEPS), *_PROBE], resume=False)
            seconds = [record["seconds"] for record in read_log(probe / "log.jsonl", ["train"])]
            shutil.rmtree(probe)
            each = statistics.median(seconds[len(seconds) // 2 :]) / 4
            steps = max(_EVALUATIONS, round(60 * self.minutes / each / _EVALUATIONS) * _EVALUATIONS)
        write_text(kept, json.dumps(steps))
        return steps

    def _train(self, folder: Path, seed: int, changes: Sequence[str], resume: bool) -> None:
        place = ["--data", str(self.data), "--work-dir", str(folder), "--seed", str(seed)]
        start = ["--resume"] if resume else ["--preset", PRESET, "--overwrite"]
        code = ldie_command(["train", SYSTEM.name, *start, *place, "--set", "log.to=[]", *changes])
        if code:
            raise SystemExit(code)


def _changes(row: Row, steps: int) -> list[str]:
    return [change.replace("{sixth}", str(max(1, steps // 6))) for change in row.changes]


def _read(folder: Path, seed: int, steps: int, data: Path) -> Run:
    """What a run came to."""
    metrics = json.loads((folder / "metrics.json").read_text())
    records = read_log(folder / "log.jsonl")
    kept = folder / "limits.json"
    if not kept.is_file():
        found = limits(trained(folder), CocoDataset(data, "val2017"))
        write_text(kept, json.dumps(found._asdict()) + "\n")
    values = json.loads(kept.read_text())
    return Run(
        seed,
        steps,
        sum(record["seconds"] for record in records if record["kind"] == "train") / 60,
        metrics["segm/AP"],
        metrics["segm/AP50"],
        tuple((record["step"], record["segm/AP"]) for record in records if record["kind"] == "eval"),
        Limits(**{**values, "alive": tuple(values["alive"])}),
    )


def trained(folder: Path) -> MaskPyramid:
    """The model at the end of a run."""
    model = ldie.load(checkpoint.newest(folder), "cpu").model
    assert isinstance(model, MaskPyramid)
    return model


def draw_growth(folder: Path, data: Path, path: Path) -> None:
    """How pyramids grow that a run has learned, in the first images with several objects."""
    dataset = CocoDataset(data, "val2017")
    samples = (dataset[index] for index in range(len(dataset)))
    chosen = [sample.image for sample in samples if len(sample) > 1][:_PICTURED_IMAGES]
    with torch.no_grad():
        sheet = trained(folder).pictures(chosen)["pyramid"]
    few = sheet.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # a third of the bytes
    save_picture(few, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is to be run, and writes the page."""
    options = _parser().parse_args(arguments)
    known = {row.name: row for row in rows()}
    if options.list:
        print("\n".join(f"{row.name:18s} {' '.join(row.changes)}" for row in known.values()))
        return 0
    chosen = list(options.rows or (_QUICK_ROWS if options.quick else known))
    names = [name for name in known if name in {BASE, *chosen} - set(options.skip)]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out = options.out or (scratch / "runs" if options.quick else ROOT / "build" / "mask_pyramid_ablation")
        docs = options.docs or (scratch / "docs" if options.quick else ROOT / "docs")
        amount = {"train": 8, "val": 2} if options.quick else {}
        data = build_shapes(out / "shapes", **amount)
        steps = options.steps or (_QUICK_STEPS if options.quick and not options.minutes else 0)
        study = Study(out, data, steps, options.minutes or 2.0)
        outcomes, code = [], 0
        for name in names:
            try:
                runs = tuple(study.run(known[name], seed, name in options.fresh) for seed in options.seeds)
                outcomes.append(Outcome(known[name], runs))
            except (SystemExit, RuntimeError) as stopped:
                code = int(stopped.code or 1) if isinstance(stopped, SystemExit) else 1
                if code == INTERRUPTED:
                    break
                print(f"{name}: failed ({stopped}); the others go on", file=sys.stderr)
        if not outcomes:
            return code
        _write(study, docs, outcomes, options)
        print(f"{len(outcomes)} rows: {docs / 'mask_pyramid_ablations.md'}")
    return code


def _write(study: Study, docs: Path, outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    pictures = []
    make_folder(docs / "pictures")
    for outcome in outcomes:
        name = outcome.row.name
        if name in options.pictures:
            file = f"mask_pyramid_growth_{name}.png"
            draw_growth(study.folder(outcome.row, options.seeds[0]), study.data, docs / "pictures" / file)
            pictures.append((file, f"Pyramids of `{name}` growing from level to level, and what is found in the end"))
    dataset = CocoDataset(study.data, "val2017")
    seeds = f"seed {options.seeds[0]}" if len(options.seeds) == 1 else f"seeds {', '.join(map(str, options.seeds))}"
    setting = (
        f"Preset `{PRESET}` of `mask_pyramid` with one change at a time, on the generated shapes, evaluated on the "
        f"{len(dataset)} images of `val2017`: {study.budget} each, {seeds}. Torch {torch.__version__}, "
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads. Steps are few: rows tell what "
        "helps early, not where each would end."
    )
    budget = f"--steps {study.steps}" if study.steps else f"--minutes {study.minutes:g}"
    command = f"cd benchmarks && PYTHONPATH=.:..:../python python -m systems.mask_pyramid_ablation {budget}"
    more = "" if options.seeds == [0] else f" --seeds {' '.join(map(str, options.seeds))}"
    names = [outcome.row.name for outcome in outcomes]
    some = "" if names == [row.name for row in rows()] else f" \\\n    --rows {' '.join(names)}"
    write_page(docs, outcomes, setting, command + more + some, pictures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in rows()]
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="of each run")
    budget.add_argument("--minutes", type=float, help="of training of each run (2), measured at its start")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help="these and the preset; default: all")
    parser.add_argument("--skip", nargs="+", choices=names, metavar="ROW", default=[], help="all but these")
    parser.add_argument("--fresh", nargs="+", choices=names, metavar="ROW", default=[], help="train these anew")
    parser.add_argument("--pictures", nargs="*", choices=names, metavar="ROW", default=PICTURED, help="of these rows")
    parser.add_argument("--out", type=Path, help="folder of the runs (build/mask_pyramid_ablation)")
    parser.add_argument("--docs", type=Path, help="folder of the page (docs)")
    parser.add_argument("--list", action="store_true", help="print all rows and stop")
    parser.add_argument("--quick", action="store_true", help="try the machinery: few steps, images and rows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
