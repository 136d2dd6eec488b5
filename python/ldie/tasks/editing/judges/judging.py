# SPDX-License-Identifier: Apache-2.0
"""Whether a picture answers a request: editing as it is for models that judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ldie.config import RunConfig
from ldie.contract import Results
from ldie.errors import ConfigError, DataError
from ldie.tasks.detection.images import to_image
from ldie.tasks.editing.data_config import JudgedDataConfig
from ldie.tasks.editing.dataset import EditDataset, each_of
from ldie.tasks.editing.judges.negatives import KINDS, WithNegatives, kind_of, target_of
from ldie.tasks.editing.judges.scores import write_scores
from ldie.tasks.editing.metrics.request_metrics import NEGATIVE, edit_metrics
from ldie.tasks.editing.model import EditingModel
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSample, JudgedInput
from ldie.tasks.editing.task import EditingTask

SCORES = "scores.csv"
_NEGATIVES = "discriminator/negatives"


class JudgingTask(EditingTask):
    """Whether targets, and pictures and requests that do not fit, are told apart."""

    files = (SCORES,)

    def open(self, config: RunConfig, splits: Sequence[str]) -> list[EditDataset]:
        """See :meth:`Task.open`; the last, which is evaluated on, gets negatives, unless the configuration says not."""
        *others, last = super().open(config, splits)
        negatives = isinstance(config.dataset, JudgedDataConfig) and config.dataset.negatives
        return [*others, WithNegatives(last) if negatives else last]

    def inputs(self, samples: Sequence[EditSample]) -> list[EditInput]:
        """See :meth:`Task.inputs`: the targets too, for they are what is judged."""
        return [JudgedInput(s.source, s.request, s.region, picture=target_of(s)) for s in samples]

    def metrics(self, dataset: EditDataset, results: Results, *, detailed: bool = False) -> dict[str, float]:
        """See :meth:`Task.metrics`; ``discriminator/negatives-black``, ... are those of each kind of negatives."""
        samples = (sample.without_pictures() for sample in each_of(dataset))
        pairs = list(zip(samples, results.values(), strict=True))
        by_kind = defaultdict(list)
        for pair in pairs:
            if pair[0].kind == NEGATIVE:
                by_kind[kind_of(pair[0])].append(pair)
        metrics = _metrics(pairs)
        for kind in filter(by_kind.__contains__, KINDS):
            metrics[f"{_NEGATIVES}-{kind}"] = _metrics(by_kind[kind])[_NEGATIVES]
        return metrics

    def headline(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """The accuracy, and that of negatives alone."""
        return {name: value for name, value in metrics.items() if name in ("discriminator/accuracy", _NEGATIVES)}

    def table(self, metrics: Mapping[str, float]) -> str:
        """See :meth:`Task.table`: how many negatives of each kind are told."""
        kinds = {kind: metrics.get(f"{_NEGATIVES}-{kind}") for kind in KINDS}
        return "\n".join(f"{kind:<13} {value:.3f}" for kind, value in kinds.items() if value is not None)

    def report(self, folder: Path, dataset: EditDataset, results: Results, model: Any) -> None:
        """See :meth:`Task.report`: ``scores.csv``, a line for each picture."""
        rows = []
        for index, prediction in zip(range(len(dataset)), results.values(), strict=True):
            sample = dataset[index]
            kind = kind_of(sample) if sample.kind == NEGATIVE else ""
            rows.append([sample.key, sample.request, kind, f"{float(prediction.realness):.4f}"])
        write_scores(folder / SCORES, ["key", "request", "negative", "realness"], rows)

    def infer(self, model: EditingModel, inputs: Any, batch_size: int = 1) -> list[EditPrediction]:
        """See :meth:`Task.infer`: one or a list of :class:`JudgedInput`."""
        listed = [inputs] if isinstance(inputs, JudgedInput) else list(inputs)
        for place, item in enumerate(listed):
            if not isinstance(item, JudgedInput):
                raise DataError(
                    f"input {place}: a JudgedInput (image, request, picture) is required, got {type(item).__name__}"
                )
            if item.picture.shape != item.image.shape:
                sizes = f"{list(item.picture.shape)}, image {list(item.image.shape)}"
                raise DataError(f"input {place}: picture and image must have one size, got picture {sizes}; resize one")
        with torch.no_grad():
            batches = (listed[start : start + batch_size] for start in range(0, len(listed), batch_size))
            return [result for batch in batches for result in model.predict(batch)]

    def pictured(self, images: Sequence[Any]) -> list[Any]:
        """See :meth:`Task.pictured`: each is judged against itself, by the same request."""
        given = [(to_image(image), request) for image, request in super().pictured(images)]
        return [JudgedInput(image, request, picture=image) for image, request in given]

    def predict(
        self, model: EditingModel, inputs: Sequence[Path], out: Path, *, batch_size: int = 1, min_score: float = 0.0
    ) -> None:
        """Raises a ConfigError: a judge needs more than a picture."""
        raise ConfigError(
            "ldie predict has no request and no second picture to judge; use ldie.load(...)(JudgedInput(...))"
        )


def _metrics(pairs: Sequence[tuple[EditSample, EditPrediction]]) -> dict[str, float]:
    return edit_metrics([sample for sample, _ in pairs], [prediction for _, prediction in pairs])
