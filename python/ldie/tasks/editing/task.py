# SPDX-License-Identifier: Apache-2.0
"""Editing as a task: pictures with requests, how near results and steps come to what was asked, pages to look at."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ldie.config import RunConfig
from ldie.contract import Facts, Results, Task
from ldie.errors import ConfigError, DataError, short
from ldie.files import make_folder
from ldie.tasks.detection.visualization import save_picture
from ldie.tasks.editing.catalog import make_data, open_split
from ldie.tasks.editing.data_config import EditDataConfig
from ldie.tasks.editing.dataset import EditDataset
from ldie.tasks.editing.model import EditingModel
from ldie.tasks.editing.request_metrics import edit_metrics
from ldie.tasks.editing.request_sheet import request_sheet
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSample
from ldie.tasks.editing.vocabulary import Vocabulary
from ldie_ext import EditOp

logger = logging.getLogger("ldie")
_SHOWN = 24
_HEADLINE = ("sequence_exact", "parameter_mae", "l1_input", "l1", "ssim", "auc", "accuracy")


class EditingTask(Task):
    """Requests to edit pictures.

    Facts: ``operators``, the names that a sequence chooses from, and ``vocabulary``, the words that requests may have.
    """

    data = EditDataConfig

    def prepare(self, config: RunConfig) -> None:
        """See :meth:`Task.prepare`: generates requests."""
        make_data(config, (config.dataset.train, config.dataset.val))

    def open(self, config: RunConfig, splits: Sequence[str]) -> list[EditDataset]:
        """See :meth:`Task.open`."""
        return [open_split(config, split) for split in splits]

    def facts(self, dataset: EditDataset) -> Facts:
        """See :meth:`Task.facts`."""
        return {
            "operators": list(dataset.operators),
            "vocabulary": list(dataset.vocabulary().words),
        }

    def facts_without_data(self, config: Any) -> Facts:
        """See :meth:`Task.facts_without_data`: the published actor's operators, and the words of their names."""
        operators = [EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.COLOR_CURVE, EditOp.TONE_CURVE]
        names = [op.name for op in [*operators, EditOp.SHARPNESS]]
        words = sorted({word for name in names for word in name.lower().split("_")})
        return {"operators": names, "vocabulary": words}

    def validate(self, facts: Facts) -> None:
        """See :meth:`Task.validate`."""
        operators, words = facts.get("operators"), facts.get("vocabulary")
        names = list(EditOp.__members__)
        if not isinstance(operators, list) or not operators or not all(name in names for name in operators):
            raise ValueError("operators are no list of names")
        if not isinstance(words, list):
            raise ValueError("vocabulary is no list")
        try:
            Vocabulary(words)
        except ConfigError as error:
            raise ValueError(f"vocabulary: {error}") from error

    def check(self, dataset: EditDataset, facts: Facts, origin: str) -> None:
        """See :meth:`Task.check`: a model cannot be measured on steps by operators that it does not have."""
        missing = [name for name in dataset.operators if name not in facts["operators"]]
        if missing:
            raise DataError(
                f"{dataset.origin}: has steps by {short(missing)}, which {origin} does not have "
                f"({short(facts['operators'])}); evaluate on data with the same operators"
            )

    def key(self, sample: EditSample) -> Hashable:
        """See :meth:`Task.key`."""
        return sample.key

    def inputs(self, samples: Sequence[EditSample]) -> list[EditInput]:
        """See :meth:`Task.inputs`: pictures, requests and regions."""
        return [EditInput(sample.source, sample.request, sample.region) for sample in samples]

    def metrics(self, dataset: EditDataset, results: Results, *, detailed: bool = False) -> dict[str, float]:
        """See :meth:`Task.metrics`."""
        samples = [dataset[index] for index in range(len(dataset))]
        return edit_metrics(samples, list(results.values()), dataset.operators, detailed=detailed)

    def headline(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """How often all steps are right, how far their parameters are off, and how near the results come."""
        return {name: value for name, value in metrics.items() if name.rpartition("/")[2] in _HEADLINE}

    def report(self, folder: Path, dataset: EditDataset, results: Results, model: Any) -> None:
        """See :meth:`Task.report`: a sheet of the first samples."""
        samples = [dataset[index] for index in range(min(_SHOWN, len(dataset)))]
        if samples:
            make_folder(folder / "pictures")
            save_picture(
                request_sheet(samples, [results[each.key] for each in samples]), folder / "pictures" / "edits.png"
            )

    def infer(self, model: EditingModel, inputs: Any, batch_size: int = 1) -> list[EditPrediction]:
        """See :meth:`Task.infer`: pairs (picture, request), one or a list; or triples with a region."""
        raise NotImplementedError

    def predict(
        self, model: EditingModel, inputs: Sequence[Path], out: Path, *, batch_size: int = 1, min_score: float = 0.0
    ) -> None:
        """Raises a ConfigError: an editor needs a request."""
        raise ConfigError('ldie predict has no request to give an editor; use ldie edit IMAGE "make it brighter"')

    def show(self, config: RunConfig, split: str, count: int, out: Path) -> None:
        """See :meth:`Task.show`: pictures, requests and what was meant, on one sheet."""
        (dataset,) = self.open(config, [split])
        samples = [dataset[index] for index in range(min(count, len(dataset)))]
        save_picture(request_sheet(samples, [None] * len(samples)), out / f"{split}.png")
        logger.info("%d of %d requests: %s", len(samples), len(dataset), out)
