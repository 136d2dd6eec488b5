# SPDX-License-Identifier: Apache-2.0
"""SynEdit as a data set in a folder: made once, noticed when damaged, and then made again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from ldie.errors import ConfigError, DataError
from ldie.files import first_line
from ldie.tasks.editing.synedit.cached_folder import ensure_folder, seal
from ldie.tasks.editing.synedit.scene import SceneObject
from ldie.tasks.editing.synedit.synedit_pairs import OPERATORS, SynPair, check_choice, check_seed, syn_pair
from ldie.tasks.editing.synedit.synedit_scene import LEAST_SIZE, MOST_SIZE
from ldie_ext import EditOp

FORMAT = 1
"""Goes up whenever pictures, edits or files become others, so that old folders are not taken for new ones."""
RECORDS = "pairs.json"
PICTURES = ("source", "target", "objects")
"""Of each pair; ``objects`` has at each pixel the number of its object, counted from 1, and 0 where there is none."""


@dataclass(frozen=True)
class SynEditConfig:
    """What decides every byte of the data set; see :func:`~ldie.tasks.editing.synedit.synedit_pairs.syn_pair`."""

    count: int = 1000
    """Pairs; pair i is the same whatever their number."""
    seed: int = 0
    size: int = 128
    operators: tuple[EditOp, ...] = OPERATORS
    steps: tuple[int, int] = (1, 3)
    local: float = 0.2

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"count must be at least 1, got {self.count}")
        if not LEAST_SIZE <= self.size <= MOST_SIZE:
            raise ConfigError(f"size must be {LEAST_SIZE} to {MOST_SIZE}, got {self.size}")
        check_seed(self.seed)
        check_choice(self.operators, self.steps, self.local)

    @property
    def key(self) -> str:
        """A name for all of it and the format."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class SynEdit(Dataset[SynPair]):
    """Pairs of pictures with the edits between them, made where they are not there yet.

    The pairs are in a folder of ``cache`` that is named by a hash of the configuration and of the generator's version.
    It appears complete or not at all; all files' digests are looked at when it is opened, and where one is missing or
    another the folder is made again.

    Args:
        cache: The folder to keep data sets in.
        config: Which pairs.

    Raises:
        DataError: The folder cannot be written to.

    Example:
        >>> import tempfile
        >>> pairs = SynEdit(tempfile.mkdtemp(), SynEditConfig(count=2, size=32, operators=(EditOp.BRIGHTNESS,),
        ...                                                   steps=(1, 1)))
        >>> len(pairs), pairs[1].target.shape
        (2, torch.Size([32, 32, 3]))
    """

    def __init__(self, cache: str | Path, config: SynEditConfig) -> None:
        self.config = config
        self.folder = Path(cache) / f"synedit-{config.key}"
        ensure_folder(self.folder, _names(config), lambda staged: _write(staged, config))
        self._records: list[dict[str, Any]] = json.loads((self.folder / RECORDS).read_bytes())["pairs"]

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> SynPair:
        """The pair, read from the files.

        Raises:
            IndexError: There is none of this number.
            DataError: A file was taken away or overwritten since the data set was opened.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, got {index}")
        record = self._records[index]
        source, target, owner = (_read(self.folder / _name(index % len(self), picture)) for picture in PICTURES)
        steps, objects = record["steps"], record["objects"]
        return SynPair(
            torch.from_numpy(source),
            torch.from_numpy(target),
            torch.tensor([EditOp[step["name"]] for step in steps]),
            torch.tensor([step["params"] for step in steps]),
            torch.from_numpy(owner == np.arange(1, len(objects) + 1)[:, None, None]),
            torch.tensor([step["mask"] for step in steps]),
            torch.tensor([step["exclusive"] for step in steps]),
            tuple(SceneObject(**{**item, "box": tuple(item["box"])}) for item in objects),
        )


def _name(index: int, picture: str) -> str:
    return f"{index:06d}_{picture}.png"


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.array(image)
    except (OSError, SyntaxError) as error:  # Pillow has broken PNG chunks as a SyntaxError
        raise DataError(
            f"{path}: cannot be read ({first_line(error)}); open the data set again to repair it"
        ) from error


def _write(folder: Path, config: SynEditConfig) -> None:
    records = []
    for index in range(config.count):
        pair = syn_pair(config.seed, config.size, config.operators, config.steps, config.local, index=index)
        owner = np.zeros((config.size, config.size), np.uint8)
        for number, mask in enumerate(pair.masks.numpy(), start=1):
            owner[mask] = number
        for picture, pixels in zip(PICTURES, (pair.source.numpy(), pair.target.numpy(), owner), strict=True):
            Image.fromarray(pixels).save(folder / _name(index, picture), compress_level=1)
        records.append({"steps": _steps(pair), "objects": [asdict(item) for item in pair.objects]})
    (folder / RECORDS).write_text(json.dumps({"config": asdict(config), "pairs": records}), encoding="utf-8")
    seal(folder, _names(config))


def _steps(pair: SynPair) -> list[dict[str, Any]]:
    rows = zip(pair.ops.tolist(), pair.params.tolist(), pair.mask_index.tolist(), pair.exclusive.tolist(), strict=True)
    return [
        {"name": EditOp(op).name, "params": params, "mask": mask, "exclusive": exclusive}
        for op, params, mask, exclusive in rows
    ]


def _names(config: SynEditConfig) -> list[str]:
    return [RECORDS, *(_name(index, picture) for index in range(config.count) for picture in PICTURES)]
