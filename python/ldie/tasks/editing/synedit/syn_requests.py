# SPDX-License-Identifier: Apache-2.0
"""SynEdit with requests: pictures, what is asked of them, and what it makes of them.

The same seed gives the same bytes on every machine, as for SynEdit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ldie.errors import ConfigError, DataError
from ldie.files import first_line
from ldie.tasks.editing.published.plans import Pair, Plans
from ldie.tasks.editing.sample import EditSample, EditSequence
from ldie.tasks.editing.synedit.cached_folder import ensure_folder, seal
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.request_draws import DrawnRequest, RequestChoice, draw_request
from ldie.tasks.editing.synedit.request_edits import carry_out
from ldie.tasks.editing.synedit.request_plans import SPLITS
from ldie.tasks.editing.synedit.request_text import Ask
from ldie.tasks.editing.synedit.synedit_pairs import check_seed
from ldie.tasks.editing.synedit.synedit_scene import LEAST_SIZE, MOST_SIZE, synedit_scene
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS

FORMAT = 2
"""Goes up whenever pictures, requests, edits or files become others, so that old folders are not taken for new ones."""
RECORDS, PICTURES = "requests.json", ("sources.npy", "targets.npy", "regions.npy")
NAMES = (RECORDS, *PICTURES)
_AT_ONCE = 512
"""Pictures that are edited in one call."""


@dataclass(frozen=True)
class SynRequestsConfig(RequestChoice):
    """What decides every byte of the data set."""

    train: int = 8000
    """Samples of this split; sample i is the same whatever their number."""
    val: int = 600
    """Other pictures, phrases as in training."""
    paraphrase: int = 600
    """Other phrases, made of the words of training."""
    combination: int = 600
    """Operators together, or in an order, as never in training."""
    seed: int = 0
    size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in SPLITS:
            if getattr(self, split) < 1:
                raise ConfigError(f"{split} must be at least 1, got {getattr(self, split)}")
        if not LEAST_SIZE <= self.size <= MOST_SIZE:
            raise ConfigError(f"size must be {LEAST_SIZE} to {MOST_SIZE}, got {self.size}")
        check_seed(self.seed)

    def key(self, split: str) -> str:
        """A name for all that decides a split, and for the format."""
        others = set(SPLITS) - {split}
        choice = {name: value for name, value in asdict(self).items() if name not in others}
        text = json.dumps({"format": FORMAT, **choice}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class SynRequests(Dataset[EditSample]):
    """Requests for generated pictures with their answers, made where they are not there yet.

    They are in a folder of ``cache`` that is named by the split and a hash of the configuration and of the generator's
    version. It appears complete or not at all; all files' digests are looked at when it is opened, and where one is
    missing or another the folder is made again. Pictures are read from the disk when a sample is asked for.

    Args:
        cache: The folder to keep data sets in.
        config: Which requests.
        split: ``train``, ``val``, ``paraphrase`` or ``combination``; no two have a picture in common.

    Raises:
        ConfigError: No such split, or operators that have no requests for it.
        DataError: The folder cannot be written to.

    Example:
        >>> import tempfile
        >>> data = SynRequests(tempfile.mkdtemp(), SynRequestsConfig(val=3, operators=(EditOp.SHARPNESS,)), "val")
        >>> len(data), data.operators, data[2].target.shape
        (3, ('SHARPNESS',), torch.Size([3, 32, 32]))
    """

    def __init__(self, cache: str | Path, config: SynRequestsConfig, split: str) -> None:
        config.check(split)
        self.config, self.split = config, split
        self.operators = tuple(op.name for op in config.operators)
        self.folder = Path(cache) / f"synrequests-{split}-{config.key(split)}"
        self.origin = str(self.folder)
        ensure_folder(self.folder, NAMES, lambda staged: _write(staged, config, split))
        self._records: list[dict[str, Any]] = json.loads((self.folder / RECORDS).read_bytes())["samples"]
        self._sources, self._targets, self._regions = (_opened(self.folder / name) for name in PICTURES)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def size(self) -> int:
        """Pixels along each side."""
        return self.config.size

    def pairs(self) -> dict[Pair, int]:
        """Numbers of the samples by names for their pictures."""
        return {pair_of(self._key(number)): number for number in range(len(self))}

    def read_pair(self, row: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """A sample's source, target and region."""
        sample = self[row]
        assert sample.target is not None
        return sample.source, sample.target, sample.region

    def requests(self) -> list[str]:
        """All samples' requests; no picture is opened."""
        return [record["request"] for record in self._records]

    def _key(self, number: int) -> str:
        return f"{self.split}-{number:06d}"

    def __getitem__(self, index: int) -> EditSample:
        """The sample, its pictures copied from the files.

        Raises:
            IndexError: There is none of this number.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, got {index}")
        number = index % len(self)
        record = self._records[number]
        steps = record["steps"]
        ops = [EditOp[step["name"]] for step in steps]
        rows = [EDIT_OPERATORS[op].row(torch.tensor(step["params"])) for op, step in zip(ops, steps, strict=True)]
        region = None if record["region"] < 0 else torch.from_numpy(self._regions[record["region"]].astype(bool))
        return EditSample(
            key=self._key(number),
            source=torch.from_numpy(np.array(self._sources[number])),
            request=record["request"],
            target=torch.from_numpy(np.array(self._targets[number])),
            region=region,
            steps=EditSequence(torch.tensor(ops), torch.stack(rows)),
            operators=frozenset(op.name for op in ops),
            kind=record["kind"],
        )


class Planned(Dataset[EditSample]):
    """Generated requests with the steps of plans in place of the truth.

    Args:
        dataset: Whose pictures and requests.
        plans: For its first pairs or all of them, as :func:`ldie.tasks.editing.published.plan_pairs.plan_pairs` makes
            them; the others are left out.
    """

    def __init__(self, dataset: SynRequests, plans: Plans) -> None:
        self.dataset, self.plans = dataset, plans
        self.origin, self.operators = plans.origin, dataset.operators
        self._count = next(
            (number for pair, number in dataset.pairs().items() if pair not in plans.plans), len(dataset)
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> EditSample:
        """The request of a number from 0 on."""
        if not 0 <= index < self._count:
            raise IndexError(f"index must be below {self._count}, got {index}")
        sample = self.dataset[index]
        steps = self.plans.steps(*pair_of(sample.key))
        return replace(sample, steps=steps, operators=frozenset(EditOp(op).name for op in steps.ops.tolist()))

    def requests(self) -> list[str]:
        """All requests."""
        return self.dataset.requests()[: self._count]


def pair_of(key: str) -> Pair:
    """Names for the pictures of a generated sample."""
    return f"{key}-source", f"{key}-target"


def _opened(path: Path) -> NDArray[Any]:
    try:
        pictures: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({first_line(error)}); open the data set again to repair it"
        ) from error
    return pictures


def _write(folder: Path, config: SynRequestsConfig, split: str) -> None:
    count = getattr(config, split)
    shape = (count, 3, config.size, config.size)
    sources, targets = (open_memmap(folder / name, "w+", np.uint8, shape) for name in PICTURES[:2])
    regions: list[NDArray[np.bool_]] = []
    samples: list[dict[str, Any]] = []
    for first in range(0, count, _AT_ONCE):
        part = _made(config, split, range(first, min(first + _AT_ONCE, count)))
        last = first + len(part.requests)
        sources[first:last], targets[first:last] = part.sources.numpy(), part.targets.numpy()
        for request, region, params in zip(part.requests, part.regions, part.params, strict=True):
            named = request.named >= 0
            steps = [_step(ask, row) for ask, row in zip(request.asks, params, strict=False)]
            place = len(regions) if named else -1
            samples.append({"request": request.text, "kind": request.kind, "region": place, "steps": steps})
            regions += [region.numpy()] * named
    sources.flush()
    targets.flush()
    np.save(folder / PICTURES[2], np.array(regions, bool).reshape(-1, *shape[2:]))
    content = {"config": asdict(config), "split": split, "samples": samples}
    (folder / RECORDS).write_text(json.dumps(content), encoding="utf-8")
    seal(folder, NAMES)


@dataclass(frozen=True)
class _Part:
    """Some of a split's samples."""

    requests: list[DrawnRequest]
    sources: Tensor
    targets: Tensor
    """uint8 [N, 3, S, S], as the sources."""
    regions: Tensor
    """bool [N, S, S]."""
    params: Tensor
    """float32 [N, K, 24]."""


def _made(config: SynRequestsConfig, split: str, numbers: range) -> _Part:
    stream = SPLITS.index(split)
    scenes = [synedit_scene(Draws(config.seed, stream, number, 0), config.size) for number in numbers]
    requests = [
        draw_request(Draws(config.seed, stream, number, 1), scene.objects, config, split)
        for number, scene in zip(numbers, scenes, strict=True)
    ]
    regions = torch.stack([request.region(scene.masks) for request, scene in zip(requests, scenes, strict=True)])
    sources = torch.stack([scene.image for scene in scenes]).permute(0, 3, 1, 2).contiguous()
    targets, _, params = carry_out(sources, [request.asks for request in requests], regions)
    return _Part(requests, sources, targets, regions, params)


def _step(ask: Ask, row: Tensor) -> dict[str, Any]:
    op = ask.aim.op
    return {"name": op.name, "params": [round(value, 4) for value in row[: EDIT_OPERATORS[op].parameters].tolist()]}
