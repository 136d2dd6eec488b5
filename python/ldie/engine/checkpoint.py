# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: weights with all that prediction needs as safetensors, the rest of a resume beside them.

``checkpoints/step_0000500.safetensors`` holds the weights (with ``solver.ema_decay`` their average) and, in its header,
system, configuration, facts of the data, step and metrics. ``step_0000500.resume.pt`` holds optimizers, random states,
the recipe's own state, the log interval, and where there is an average the weights themselves; it is written first, so
weights with a resume file beside them are a whole checkpoint. ``best.safetensors`` has none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from ldie.errors import CheckpointError
from ldie.files import first_line, foreign_kind, is_file, is_folder, write_whole
from ldie.weights.facts import HEADER

logger = logging.getLogger("ldie")

FOLDER = "checkpoints"
BEST = "best.safetensors"
_CHECKSUM = "sha256"


@dataclass(frozen=True)
class Header:
    """What a weights file says about itself."""

    system: str
    config: dict[str, Any]
    facts: dict[str, Any]
    """What the model knows of its data: :meth:`ldie.contract.Task.facts`."""
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def save_weights(path: Path, weights: Mapping[str, Tensor], header: Header) -> None:
    """Writes a weights file with a checksum; it appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    text = json.dumps(asdict(header))
    metadata = {HEADER: text, _CHECKSUM: _checksum(tensors, text)}
    content = serialize(tensors, metadata)  # its own files are readable by their owner only
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def load_weights(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Reads a weights file.

    Raises:
        CheckpointError: The file is missing, damaged, or not one of ours.
    """
    try:
        return _read_weights(path)
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        reason = foreign_kind(path) or first_line(error)
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason}); {_advice(path)}") from error


_UNREADABLE = (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError)


def _read_weights(path: Path) -> tuple[Header, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if HEADER not in metadata:
            raise CheckpointError(f"{path}: a safetensors file without ldie's header; give a file ldie train wrote")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get(_CHECKSUM) != _checksum(tensors, metadata[HEADER]):
        raise ValueError("its contents do not fit its checksum")
    return _header(json.loads(metadata[HEADER])), tensors


def _advice(damaged: Path) -> str:
    """What to do where a file of a run is damaged: take the best or the newest that is not."""
    for other in (damaged.with_name(BEST), *reversed(_step_files(damaged.parent))):
        with suppress(*_UNREADABLE):  # a CheckpointError is a ValueError
            if other != damaged:
                _read_weights(other)
                return f"{other} is whole, give that"
    return "train again or give another"


def _checksum(tensors: Mapping[str, Tensor], header: str) -> str:
    """SHA-256 of names, types, shapes and values, and of the header."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _header(values: dict[str, Any]) -> Header:
    header = Header(**values)
    types = {"system": str, "config": dict, "facts": dict, "step": int}
    for name, kind in types.items():
        if not isinstance(getattr(header, name), kind):
            raise TypeError(f"{name} is no {kind.__name__}")
    return header


def save_resume(path: Path, state: Mapping[str, Any]) -> None:
    """Writes the resume state; it appears whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # opened here, a full disk is an OSError that says so
            torch.save(dict(state), file)

    write_whole(path, write)


def load_resume(path: Path) -> dict[str, Any]:
    """Reads a resume state without running any code it might hold.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not read them
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: not a readable resume state ({first_line(error)}); delete it to resume from an older checkpoint"
        ) from error


def weights_path(work_dir: Path, step: int) -> Path:
    """Weights file of one step."""
    return work_dir / FOLDER / f"step_{step:07d}.safetensors"


def resume_path(weights: Path) -> Path:
    """Resume file that belongs to a weights file."""
    return weights.with_suffix(".resume.pt")


def resumable(work_dir: Path) -> list[Path]:
    """Weights files with a resume file beside them, oldest first."""
    return [path for path in _step_files(work_dir / FOLDER) if is_file(resume_path(path))]


def _step_files(folder: Path) -> list[Path]:
    """Weights files of steps, oldest first."""
    return sorted(folder.glob("step_*.safetensors")) if is_folder(folder) else []


def newest(work_dir: Path) -> Path:
    """The newest resumable weights file that can be read, with its resume file; says which newer ones cannot.

    Raises:
        CheckpointError: None there, or none of them can be read.
    """
    newest_error: CheckpointError | None = None
    for path in reversed(resumable(work_dir)):
        try:
            load_weights(path)
            load_resume(resume_path(path))
        except CheckpointError as error:
            logger.warning("%s", error)
            newest_error = newest_error or error
            continue
        if newest_error:
            logger.warning("going on from the older %s", path)
        return path
    raise newest_error or CheckpointError(f"{work_dir}: no checkpoint to resume from; train without --resume")


def set_aside(work_dir: Path, newer_than: Path) -> None:
    """Renames the checkpoints after one to ``NAME.damaged``, so that they are not taken for the newest again."""
    for path in resumable(work_dir):
        if path > newer_than:
            for file in (path, resume_path(path)):
                file.replace(file.with_name(f"{file.name}.damaged"))


def prune(work_dir: Path, keep: int) -> None:
    """Deletes all but the newest ``keep`` resumable checkpoints, and resume files that a killed run left alone."""
    for path in resumable(work_dir)[: -max(keep, 1)]:
        path.unlink()
    for path in (work_dir / FOLDER).glob("step_*.resume.pt"):
        if not path.with_name(path.name.replace(".resume.pt", ".safetensors")).exists():
            path.unlink()


def find_weights(path: Path) -> Path:
    """The weights file meant by ``path``: itself, or the best (else the newest) one of a work folder.

    Raises:
        CheckpointError: Nothing there.
    """
    if is_file(path):
        return path
    if not is_folder(path):
        raise CheckpointError(f"{path}: no such file; give a .safetensors checkpoint or the work folder of a run")
    for folder in (path / FOLDER, path):
        found = [folder / BEST] if (folder / BEST).is_file() else _step_files(folder)
        if found:
            return found[-1]
    raise CheckpointError(f"{path}: no checkpoint in this folder; give the work folder of a run or a .safetensors file")


def clear(work_dir: Path, files: Iterable[str] = ()) -> None:
    """Deletes what an earlier run wrote, checkpoints, results and the task's ``files``; nothing else in the folder."""
    for name in (FOLDER, "pictures", "tensorboard"):
        shutil.rmtree(work_dir / name, ignore_errors=True)
    for name in ("config.yaml", "log.jsonl", "metrics.json", *files):
        (work_dir / name).unlink(missing_ok=True)
