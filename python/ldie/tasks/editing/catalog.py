# SPDX-License-Identifier: Apache-2.0
"""Data by name: generated requests, or a folder of published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from ldie.config import RunConfig
from ldie.errors import ConfigError, DataError
from ldie.files import is_folder
from ldie.tasks.editing.data_config import GENERATED, EditDataConfig
from ldie.tasks.editing.dataset import RequestSource, labels_of
from ldie.tasks.editing.published.fivek import FiveK
from ldie.tasks.editing.published.gier import Gier
from ldie.tasks.editing.published.pairs import TRAINING_SIZE
from ldie.tasks.editing.published.plans import Plans
from ldie.tasks.editing.published.published_folder import open_published
from ldie.tasks.editing.sample import EditSample
from ldie.tasks.editing.synedit.syn_requests import Planned, SynRequests, SynRequestsConfig
from ldie.tasks.editing.words.vocabulary import Vocabulary, build_vocabulary
from ldie.tasks.editing.words.word_files import read_class_names, read_vocabulary


class Chosen(Dataset[EditSample]):
    """The first requests of a data set, and what a configuration says of its words.

    Args:
        dataset: Whose.
        count: How many; 0: all.
        data: Which words are known to a model.
    """

    def __init__(self, dataset: RequestSource, count: int, data: EditDataConfig) -> None:
        self.dataset, self._data = dataset, data
        self.origin, self.operators, self.labels = dataset.origin, dataset.operators, labels_of(dataset)
        self._count = min(count or len(dataset), len(dataset))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> EditSample:
        """The request of a number from 0 on."""
        if not 0 <= index < self._count:
            raise IndexError(f"index must be below {self._count}, got {index}")
        return self.dataset[index]

    def requests(self) -> list[str]:
        """All requests."""
        return list(self.dataset.requests())[: self._count]

    def vocabulary(self) -> Vocabulary:
        """The words of its requests that are known to a model, and others that the configuration names.

        Raises:
            ConfigError: There are none.
            DataError: A file of words cannot be read.
        """
        data = self._data
        if data.vocabulary:
            return read_vocabulary(data.vocabulary)
        names = read_class_names(data.class_names) if data.class_names else []
        return build_vocabulary(self.requests(), names, min_count=data.min_count)


def make_data(config: RunConfig, splits: Sequence[str]) -> None:
    """Generates what has a name."""
    if config.dataset.root == GENERATED:
        for split in splits:
            open_split(config, split)


def open_split(config: RunConfig, split: str) -> Chosen:
    """One part of the configured data.

    Raises:
        DataError: Neither a name nor a folder of a known kind, or malformed.
        ConfigError: No such part.
    """
    data = config.dataset
    assert isinstance(data, EditDataConfig)
    limit = data.limit if split == data.train else 0
    _check_keys(data)
    if data.root == GENERATED:
        dataset = generated(config, data, split, limit)
        planned = Planned(dataset, Plans.load(data.plans)) if data.plans and split == data.train else dataset
        return Chosen(planned, limit, data)
    return Chosen(_published(Path(data.root), data, split), limit, data)


def generated(config: RunConfig, data: EditDataConfig, split: str, limit: int = 0) -> SynRequests:
    """A part of the generated requests that a configuration asks for, with the steps that are known.

    Only so many are made as the limit leaves, unless it is 0: each is the same whatever their number is.
    """
    cache = Path(data.cache or config.output_dir) / GENERATED
    train, count = (min(number, limit or number) for number in (data.count, data.val_count))
    choice = SynRequestsConfig(
        train=train, val=count, paraphrase=count, combination=count, size=data.size, local=data.local,
        seed=data.seed,
    )  # fmt: skip
    return SynRequests(cache, choice, split)


def _check_keys(data: EditDataConfig) -> None:
    """Raises a ConfigError for keys of other tasks, which would do nothing."""
    for name in ("categories", "drop_empty", "aspect_grouping"):
        if value := getattr(data, name):
            raise ConfigError(f"dataset.{name} does nothing for requests, got {value!r}; leave it out")


def _published(root: Path, data: EditDataConfig, split: str) -> FiveK | Gier:
    if not is_folder(root):
        raise DataError(f"{root}: no such folder; give {GENERATED} or a folder of MA5k-Req or GIER (docs/editing.md)")
    train = split == data.train
    plans, size = (data.plans or None, TRAINING_SIZE) if train else (None, None)
    return open_published(root, split, mode=data.mode, size=size, splits=data.splits or None, plans=plans)
