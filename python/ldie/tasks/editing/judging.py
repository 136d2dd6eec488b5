# SPDX-License-Identifier: Apache-2.0
"""Whether a picture answers a request: editing as it is for models that judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ldie.config import RunConfig
from ldie.contract import Results
from ldie.errors import ConfigError
from ldie.tasks.editing.data_config import JudgedDataConfig
from ldie.tasks.editing.dataset import EditDataset
from ldie.tasks.editing.negatives import WithNegatives, kind_of
from ldie.tasks.editing.request_metrics import NEGATIVE, edit_metrics
from ldie.tasks.editing.sample import EditSample, JudgedInput
from ldie.tasks.editing.scores import write_scores
from ldie.tasks.editing.task import EditingTask

SCORES = "scores.csv"


class JudgingTask(EditingTask):
    """Whether targets, and pictures and requests that do not fit, are told apart."""

    files = (SCORES,)

    def open(self, config: RunConfig, splits: Sequence[str]) -> list[EditDataset]:
        """See :meth:`Task.open`; all but the split to train on get negatives, unless the configuration says not."""
        opened = super().open(config, splits)
        data = config.dataset
        if not (isinstance(data, JudgedDataConfig) and data.negatives):
            return opened
        return [
            each if name == data.train and place == 0 and len(splits) > 1 else WithNegatives(each)
            for place, (name, each) in enumerate(zip(splits, opened, strict=True))
        ]
