# SPDX-License-Identifier: Apache-2.0
"""``ldie benchmark``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from ldie.commands.common import chosen_device
from ldie.engine.benchmark import MEMORY, Measured, measure
from ldie.engine.environment import versions
from ldie.engine.log import configure_console, logger
from ldie.engine.tables import table
from ldie.errors import ConfigError
from ldie.files import is_folder, is_same_file, make_folder, write_text
from ldie.inference import Predictor, load


def benchmark(options: argparse.Namespace) -> int:
    """Measures inference as ``ldie predict`` and :func:`ldie.load` run it."""
    configure_console(options.debug)
    device = chosen_device(options.device)
    predictor = load(options.run, device)
    _check_out(options.out, [Path(predictor.origin), *options.images])
    pictures = list(islice(cycle(options.images or [_picture(*options.size)]), options.batch_size))
    inputs = predictor.system.task.pictured(pictures)
    measured = measure(lambda: predictor(inputs, options.batch_size), device, options.repeats)
    report = _report(options, predictor, measured)
    logger.info("%s", _printed(report))
    if options.out:
        write_text(options.out, json.dumps(report, indent=2) + "\n")
        logger.info("written: %s", options.out)
    return 0


def _check_out(out: Path | None, inputs: list[Path]) -> None:
    """What cannot be written is said before anything is measured."""
    if out is None:
        return
    if is_folder(out):
        raise ConfigError(f"--out must be a file, got the folder {out}; name a file in it")
    if any(is_same_file(out, path) for path in inputs):
        raise ConfigError(f"--out must be another file than {out}, which is read; it stays as it is")
    make_folder(out.parent)


def _picture(height: int, width: int) -> torch.Tensor:
    """An image of random pixels, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def _report(options: argparse.Namespace, predictor: Predictor, measured: Measured) -> dict[str, Any]:
    """All figures, as JSON holds them."""
    device = predictor.model.device
    on_gpu = device.type == "cuda"
    return {
        "model": predictor.origin,
        "system": predictor.system.name,
        "step": predictor.step,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "images": [str(path) for path in options.images[: options.batch_size]] or "x".join(map(str, options.size)),
        "batch_size": options.batch_size,
        "repeats": options.repeats,
        "latency_ms": {
            "median": measured.median * 1e3,
            "p90": measured.p90 * 1e3,
            "min": min(measured.seconds) * 1e3,
        },
        "images_per_second": options.batch_size * options.repeats / sum(measured.seconds),
        "peak_memory": {"bytes": measured.peak_memory, "of": MEMORY[device.type]},
        **stage_figures(measured, on_gpu),
    }


def stage_figures(measured: Measured, on_gpu: bool) -> dict[str, Any]:
    """The part of the report on stages; shares are of a profiled call, on the host."""
    total = measured.profiled_seconds
    stages = [
        {"name": name, "calls": stage.calls, "ms": stage.seconds * 1e3, "share": stage.seconds / total}
        | ({"gpu_ms": stage.gpu_seconds * 1e3} if on_gpu else {})
        for name, stage in measured.stages.items()
    ]
    outside = total - sum(stage.seconds for stage in measured.stages.values())
    return {
        "profiled_ms": total * 1e3,
        "stages": stages,
        "outside_of_stages": {"ms": outside * 1e3, "share": outside / total},
    }


def _printed(report: dict[str, Any]) -> str:
    """The figures as people read them."""
    latency, memory = report["latency_ms"], report["peak_memory"]
    peak = "not told by this system" if memory["bytes"] is None else f"{memory['bytes'] / 2**20:.0f} MiB"
    images = "image files" if isinstance(report["images"], list) else f"images of {report['images']}"
    return "\n".join(
        (
            f"{report['system']}, step {report['step']}: {report['model']}",
            f"{report['device']}, {report['threads']} threads, torch {report['versions']['torch']}, "
            f"calls: {report['repeats']}, batch: {report['batch_size']}, {images}",
            f"latency      median {latency['median']:.1f} ms, p90 {latency['p90']:.1f} ms, min {latency['min']:.1f} ms",
            f"throughput   {report['images_per_second']:.1f} images/s",
            f"peak memory  {peak} ({memory['of']})",
            stage_table(report),
        )
    )


def stage_table(figures: Mapping[str, Any]) -> str:
    """What :func:`stage_figures` gave, for the console."""
    on_gpu = any("gpu_ms" in stage for stage in figures["stages"])
    rows = [["stage", "ms", "%", "times"] + ["GPU ms"] * on_gpu]
    for stage in figures["stages"]:
        times, gpu = f"{stage['calls']:.4g}", [f"{stage['gpu_ms']:.2f}"] if on_gpu else []
        rows.append([*_time(stage["name"], stage), times, *gpu])
    whole = {"ms": figures["profiled_ms"], "share": 1.0}
    for name, part in (("outside of stages", figures["outside_of_stages"]), ("a profiled call", whole)):
        rows.append([*_time(name, part), ""] + [""] * on_gpu)
    return table(rows)


def _time(name: str, part: Mapping[str, float]) -> list[str]:
    return [name, f"{part['ms']:.2f}", f"{100 * part['share']:.1f}"]
