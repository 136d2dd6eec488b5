# SPDX-License-Identifier: Apache-2.0
"""Data by name: generated requests or a folder."""

from __future__ import annotations

from ldie.config import RunConfig
from ldie.tasks.editing.dataset import EditDataset


def make_data(config: RunConfig) -> None:
    """Generates what has a name."""


def open_split(config: RunConfig, split: str) -> EditDataset:
    """One part of the configured data."""
    raise NotImplementedError
