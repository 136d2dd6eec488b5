# SPDX-License-Identifier: Apache-2.0
"""Editing as a task: pictures with requests, how near results and steps come to what was asked, pages to look at."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ldie.config import RunConfig
from ldie.contract import Facts, Results, Task
from ldie.errors import ConfigError, DataError, short
from ldie.files import make_folder, write_text
from ldie.stages import stage
from ldie.tasks.detection.images import to_image
from ldie.tasks.detection.visualization import save_picture
from ldie.tasks.editing.catalog import make_data, open_split
from ldie.tasks.editing.data_config import EditDataConfig
from ldie.tasks.editing.dataset import EditDataset, each_of
from ldie.tasks.editing.metrics.request_metrics import edit_metrics
from ldie.tasks.editing.model import EditingModel
from ldie.tasks.editing.pages.request_pages import request_page
from ldie.tasks.editing.pages.request_sheet import request_sheet
from ldie.tasks.editing.pages.run_index import RUN_PAGE, SHEET
from ldie.tasks.editing.replay import picture_of
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSample
from ldie.tasks.editing.words.vocabulary import Vocabulary
from ldie_ext import EditOp

logger = logging.getLogger("ldie")
_SHOWN = 24
_REQUEST = "make it a bit brighter and more colorful"
"""For pictures that come without one, to be measured: as long as most."""
_HEADLINE = ("sequence_exact", "parameter_mae", "l1_input", "l1", "ssim", "auc", "accuracy")


class EditingTask(Task):
    """Requests to edit pictures.

    Facts: ``operators``, the names that a sequence chooses from, and ``vocabulary``, the words that requests may have.
    """

    files = (RUN_PAGE,)
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
        return edit_metrics(each_of(dataset), results.values(), dataset.operators, detailed=detailed)

    def headline(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """How often all steps are right, how far their parameters are off, and how near the results come."""
        return {name: value for name, value in metrics.items() if name.rpartition("/")[2] in _HEADLINE}

    def report(self, folder: Path, dataset: EditDataset, results: Results, model: Any) -> None:
        """See :meth:`Task.report`: a sheet of the first samples, and a page of the worst ones."""
        found = list(results.values())
        if found:
            make_folder((folder / SHEET).parent)
            shown = found[:_SHOWN]
            save_picture(request_sheet([dataset[index] for index in range(len(shown))], shown), folder / SHEET)
        page = request_page(folder.resolve().name, dataset, found, self.metrics(dataset, results))
        write_text(folder / RUN_PAGE, page)

    def infer(self, model: EditingModel, inputs: Any, batch_size: int = 1) -> list[EditPrediction]:
        """See :meth:`Task.infer`.

        Args:
            model: In eval mode.
            inputs: (picture, request), or (picture, request, region), or a list of these; pictures as
                :func:`ldie.tasks.detection.images.to_image` takes them, regions bool [H, W] of the picture's size.
            batch_size: How many go through the model together.

        Raises:
            DataError: Neither, or a picture that cannot be read.
        """
        given = [inputs] if isinstance(inputs, EditInput) or _is_one(inputs) else list(inputs)
        found: list[EditPrediction] = []
        with torch.no_grad():
            for first in range(0, len(given), batch_size):
                with stage("read"):
                    batch = [edit_input(each) for each in given[first : first + batch_size]]
                predictions = model.predict(batch)
                with stage("edit"):
                    found += [replace(each, image=picture_of(item, each)) for item, each in zip(batch, predictions)]
        return found

    def pictured(self, images: Sequence[Any]) -> list[tuple[Any, str]]:
        """See :meth:`Task.pictured`: all with the same request."""
        return [(image, _REQUEST) for image in images]

    def predict(
        self, model: EditingModel, inputs: Sequence[Path], out: Path, *, batch_size: int = 1, min_score: float = 0.0
    ) -> None:
        """Raises a ConfigError: an editor needs a request."""
        raise ConfigError('ldie predict has no request to give an editor; use ldie edit IMAGE "make it brighter"')

    def show(self, config: RunConfig, split: str, count: int, out: Path) -> None:
        """See :meth:`Task.show`: pictures, requests and what was meant, on one sheet; no more are generated."""
        first = replace(config.dataset, train=split, limit=count)
        (dataset,) = self.open(replace(config, dataset=first), [split])
        samples = [dataset[index] for index in range(min(count, len(dataset)))]
        save_picture(request_sheet(samples, [None] * len(samples)), out / f"{split}.png")
        logger.info("%d requests: %s", len(samples), out)


def edit_input(given: Any) -> EditInput:
    """A picture with a request, as people have them, for a model.

    Raises:
        DataError: None, or a picture that cannot be read, or a region of another size.
    """
    if isinstance(given, EditInput):
        return given
    if not _is_one(given):
        raise DataError(f"expected a picture with a request, (picture, text), got {type(given).__name__}; pair them")
    image, region = to_image(given[0]), None if len(given) < 3 or given[2] is None else torch.as_tensor(given[2])
    if region is not None and (region.dtype != torch.bool or region.shape != image.shape[1:]):
        came = f"{region.dtype} {list(region.shape)}"
        raise DataError(f"expected a region bool {list(image.shape[1:])}, as the picture, got {came}; resize it")
    return EditInput(image, given[1], region)


def _is_one(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) in (2, 3) and isinstance(given[1], str)
