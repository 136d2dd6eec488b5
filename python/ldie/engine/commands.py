# SPDX-License-Identifier: Apache-2.0
"""What the subcommands of ``ldie`` do, given their parsed options."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.config import ConfigError, RunConfig, load_yaml, merge, override, to_yaml
from ldie.data import CocoDataset, DataError, Prediction, Sample, locate_data, open_data, read_image
from ldie.engine import checkpoint, distributed, report
from ldie.engine.checkpoint import CheckpointError, Header
from ldie.engine.evaluation import coco_detections, evaluate
from ldie.engine.log import TrainingError, configure_console, logger
from ldie.engine.runtime import Runtime
from ldie.engine.system import System
from ldie.engine.trainer import Trainer
from ldie.engine.visualization import draw_prediction, draw_sample, grid
from ldie.systems import UnknownSystemError, get_system

INTERRUPTED = 130
_GRID_IMAGES = 16


def train(options: argparse.Namespace) -> int:
    """``ldie train``."""
    device = _device(options.device)
    with distributed.process_group(device):
        configure_console(options.debug)
        config = _train_config(options)
        if options.print_config:
            print(to_yaml(config), end="")
            return 0
        work_dir = Path(config.output_dir)
        _make_folder(work_dir)
        root = _locate_on_all_ranks(config, work_dir)
        train_set, val_set = open_data(root, work_dir, train=config.dataset.train, val=config.dataset.val)
        if options.overwrite:  # not before the data is known to be there: a mistyped --data must not cost a run
            _clear_on_all_ranks(work_dir)
        metrics = Trainer(options.system, config, train_set, val_set, device, options.resume).run()
    return INTERRUPTED if metrics is None else 0


def evaluate_checkpoint(options: argparse.Namespace) -> int:
    """``ldie eval``."""
    device = _device(options.device)
    with distributed.process_group(device):
        configure_console(options.debug)
        path = checkpoint.find_weights(options.checkpoint)
        system, header, config = _load_system(path, device)
        out = options.out or _run_folder(path) / "eval"
        _make_folder(out)
        config = _with_data(config, options.data)
        val_set = CocoDataset(_locate_on_all_ranks(config, _run_folder(path)), config.dataset.val)
        if list(val_set.class_names) != header.class_names:
            raise DataError(
                f"{val_set.annotation_file}: classes {_short(val_set.class_names)} differ from those of {path}: "
                f"{_short(header.class_names)}; evaluate on data with the same categories"
            )
        evaluation = evaluate(system, val_set, options.batch_size)
        if distributed.rank() == 0:
            report.write_evaluation(out, val_set, evaluation, system)
        logger.info("%s (step %d): %s", path, header.step, report.summary(evaluation.metrics))
        if distributed.rank() == 0:
            report.announce(out)
    return 0


def predict(options: argparse.Namespace) -> int:
    """``ldie predict``."""
    configure_console(options.debug)
    path = checkpoint.find_weights(options.checkpoint)
    for image in options.images:
        read_image(image)  # nothing is written unless every image can be read
    system, header, _ = _load_system(path, _device(options.device))
    _make_folder(options.out)
    images, annotations = [], []
    for image_id, (file, name) in enumerate(zip(options.images, _picture_names(options.images)), start=1):
        sample = _unlabelled_sample(file, image_id)
        with torch.no_grad():
            (prediction,) = system.predict([sample])
        picture = draw_prediction(sample.image, prediction, header.class_names, min_score=options.min_score)
        picture.save(options.out / name)
        logger.info("%s: %s -> %s", file, _found(prediction, header, options.min_score), options.out / name)
        height, width = sample.size
        images.append({"id": image_id, "file_name": str(file), "height": height, "width": width})
        annotations += coco_detections([prediction], header.category_ids)
    document = _coco_document(images, annotations, header)
    checkpoint.write_text(options.out / "predictions.json", json.dumps(document))
    logger.info("COCO json   %s", options.out / "predictions.json")
    return 0


def show(options: argparse.Namespace) -> int:
    """``ldie show``."""
    configure_console(options.debug)
    _make_folder(options.out)
    dataset = CocoDataset(locate_data(options.data, options.out, seed=options.seed), options.split)
    pictures = []
    for i in range(min(options.count, len(dataset))):
        sample = dataset[i]
        pictures.append(draw_sample(sample, dataset.class_names, dataset.skeleton))
        pictures[-1].save(options.out / f"{options.split}_{sample.image_id}.png")
    if pictures:
        grid(pictures[:_GRID_IMAGES]).save(options.out / f"{options.split}.png")
    logger.info("%d of %d images, %d classes: %s", len(pictures), len(dataset), len(dataset.class_names), options.out)
    return 0


def info(options: argparse.Namespace) -> int:
    """``ldie info``."""
    import ldie_ext.info as ext_info  # not `from ldie_ext import`: it must work where the native libraries do not load

    return ext_info.main()


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "eval": evaluate_checkpoint,
    "predict": predict,
    "show": show,
    "info": info,
}


def one_line(error: Exception) -> str | None:
    """The message of an error that the user can do something about; None for any other."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU is out of memory; lower solver.batch_size or the image size, or use --device cpu"
    if isinstance(error, (ConfigError, CheckpointError, DataError, UnknownSystemError, TrainingError)):
        return _message(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}; check the path, its permissions and the space left"
    return None


def _message(error: Exception) -> str:
    """An error's text on one line; of one from a data-loading process, which comes with its traceback, the end."""
    text = str(error)
    if text.startswith("Caught "):
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def _train_config(options: argparse.Namespace) -> RunConfig:
    system = get_system(options.system)
    work_dir = options.work_dir or Path("runs") / options.system
    if options.resume:
        path = checkpoint.newest(work_dir)
        header, _ = checkpoint.load_weights(path)
        if header.system != options.system:
            raise CheckpointError(f"{path} is of system {header.system}, not {options.system}; name that one")
        config = _saved_config(system, header, path)
    else:
        config = _preset(system, options.preset)
        if options.config:
            config = merge(config, load_yaml(options.config))
    config = dataclasses.replace(_with_data(config, options.data), output_dir=str(work_dir))
    if options.seed is not None:
        config = dataclasses.replace(config, seed=options.seed)
    return override(config, options.set)


def _preset(system: type[System], name: str | None) -> RunConfig:
    name = name or system.default_preset
    if name not in system.presets:
        raise ConfigError(f"unknown preset {name!r}; known: {', '.join(system.presets)}")
    return system.presets[name]


def _saved_config(system: type[System], header: Header, path: Path) -> RunConfig:
    try:
        return merge(_preset(system, None), header.config)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its configuration does not fit this version of {header.system} ({error}); train again"
        ) from error


def _with_data(config: RunConfig, root: str | None) -> RunConfig:
    return config if root is None else merge(config, {"dataset": {"root": root}})


def _locate_on_all_ranks(config: RunConfig, work_dir: Path) -> Path:
    """The folder of the data; rank 0 first, because it may have to generate what the others then find."""
    if distributed.rank() != 0:
        distributed.barrier()
    root = locate_data(config.dataset.root, work_dir, seed=config.seed)
    if distributed.rank() == 0:
        distributed.barrier()
    return root


def _clear_on_all_ranks(work_dir: Path) -> None:
    if distributed.rank() == 0:
        checkpoint.clear(work_dir)
    distributed.barrier()  # no rank looks for a run in the folder before it is gone


def _load_system(path: Path, device: torch.device) -> tuple[System, Header, RunConfig]:
    header, weights = checkpoint.load_weights(path)
    kind = get_system(header.system)
    config = _saved_config(kind, header, path)
    system = kind.from_config(config)
    checkpoint.put_weights(system, weights, path)
    system.to(device).eval()
    system.runtime = Runtime(device)
    return system, header, config


def _device(name: str | None) -> torch.device:
    try:
        device = distributed.local_device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name} cannot be used here; use cpu, or see ldie info") from error
    return device


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used as a folder ({error.strerror}); choose another") from error


def _run_folder(weights: Path) -> Path:
    """The work folder a checkpoint lies in, or the folder of a file that was moved elsewhere."""
    return weights.parent.parent if weights.parent.name == checkpoint.FOLDER else weights.parent


def _picture_names(images: Sequence[Path]) -> list[str]:
    """One file name per image; images of the same name in different folders are numbered."""
    names: list[str] = []
    for image in images:
        name, number = f"{image.stem}.png", 2
        while name in names:
            name, number = f"{image.stem}_{number}.png", number + 1
        names.append(name)
    return names


def _found(prediction: Prediction, header: Header, min_score: float) -> str:
    labels = [int(k) for k, score in zip(prediction.labels, prediction.scores) if score >= min_score]
    counts = {header.class_names[label]: labels.count(label) for label in sorted(set(labels))}
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"


def _unlabelled_sample(file: Path, image_id: int) -> Sample:
    image = read_image(file)
    size = (image.shape[1], image.shape[2])
    none = torch.zeros(0, dtype=torch.int64)
    return Sample(image, image_id, torch.zeros(0, 4), none, none.bool(), None, None, size, file.name)


def _coco_document(
    images: list[dict[str, Any]], detections: Sequence[dict[str, Any]], header: Header
) -> dict[str, Any]:
    """A whole COCO file: images, categories, and detections as annotations with scores."""
    annotations = [
        {"id": number, **record, "area": record["bbox"][2] * record["bbox"][3], "iscrowd": 0}
        for number, record in enumerate(detections, start=1)
    ]
    categories = [{"id": i, "name": name} for i, name in zip(header.category_ids, header.class_names)]
    return {"images": images, "categories": categories, "annotations": annotations}


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
