# SPDX-License-Identifier: Apache-2.0
"""Requests with the operators that they ask for, as labels: more than one may hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ldie.contract import Facts, Results
from ldie.errors import DataError, short
from ldie.tasks.editing.dataset import EditDataset, each_of, labels_of
from ldie.tasks.editing.judges.scores import write_scores
from ldie.tasks.editing.metrics.request_metrics import asked_for, edit_metrics
from ldie.tasks.editing.sample import EditPrediction
from ldie.tasks.editing.task import EditingTask

SCORES = "scores.csv"


class LabellingTask(EditingTask):
    """Which operators a request asks for. Facts: those of editing, and ``labels``, names, with a number or without."""

    files = (SCORES,)

    def facts(self, dataset: EditDataset) -> Facts:
        """See :meth:`Task.facts`."""
        return {**super().facts(dataset), "labels": list(labels_of(dataset))}

    def facts_without_data(self, config: Any) -> Facts:
        """See :meth:`Task.facts_without_data`: labels are the operators."""
        facts = super().facts_without_data(config)
        return {**facts, "labels": facts["operators"]}

    def validate(self, facts: Facts) -> None:
        """See :meth:`Task.validate`."""
        super().validate(facts)
        labels = facts.get("labels")
        if not isinstance(labels, list) or not labels or not all(isinstance(name, str) for name in labels):
            raise ValueError("labels are no list of names")

    def check(self, dataset: EditDataset, facts: Facts, origin: str) -> None:
        """See :meth:`Task.check`: what requests are labelled with, the model must know."""
        missing = [name for name in labels_of(dataset) if name not in facts["labels"]]
        if missing:
            raise DataError(
                f"{dataset.origin}: requests ask for {short(missing)}, which {origin} does not know "
                f"({short(facts['labels'])}); evaluate on data with the same operators"
            )

    def metrics(self, dataset: EditDataset, results: Results, *, detailed: bool = False) -> dict[str, float]:
        """See :meth:`Task.metrics`; labels that only the model knows count as not asked for."""
        predictions = list(results.values())
        return edit_metrics(each_of(dataset), predictions, _labels(predictions), detailed=detailed)

    def report(self, folder: Path, dataset: EditDataset, results: Results, model: Any) -> None:
        """See :meth:`Task.report`: ``scores.csv``, a line for each request with what it asks for and all scores."""
        labels, rows = _labels(list(results.values())), []
        for index, prediction in zip(range(len(dataset)), results.values(), strict=True):
            sample = dataset[index]
            scores = [f"{score:.4f}" for score in prediction.operator_scores.tolist()]
            rows.append([sample.key, sample.request, " ".join(sorted(asked_for(sample))), *scores])
        write_scores(folder / SCORES, ["key", "request", "asked for", *labels], rows)


def _labels(predictions: Sequence[EditPrediction]) -> tuple[str, ...]:
    return predictions[0].labels if predictions else ()
