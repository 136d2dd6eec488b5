# SPDX-License-Identifier: Apache-2.0
"""Keys of the editor that do not fit together: one line each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ldie.engine.runtime import TrainingRuntime
from ldie.errors import ConfigError
from ldie.systems.editing.recipe import EditorRecipe
from systems.editing.helpers import tiny_config, tiny_editor

DISCRIMINATOR = {"scales": 1, "widths": [4], "text": 4, "hidden": 4}


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [
        ({"image": {"widths": []}}, "supervised", "model.image.widths must have the channels of at least one stage"),
        ({"image": {"size": 3}}, "supervised", "model.image.size must be at least 4 for 2 stages, got 3"),
        ({"discriminator": {**DISCRIMINATOR, "widths": []}}, "gan", "model.discriminator.widths must have"),
    ],
)
def test_networks_that_cannot_be(model: dict[str, Any], training: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(model=model, solver={"training": training}).check()


def test_pictures_that_are_not_seen_have_any_size() -> None:
    tiny_config(model={"image": {"enabled": False, "widths": [], "size": 1}}).check()


@pytest.mark.parametrize(
    ("model", "training", "trains"),
    [
        ({}, "supervised", False),
        ({"image": {"enabled": False}}, "supervised", True),
        ({"image": {"enabled": False}, "discriminator": DISCRIMINATOR}, "gan", False),
    ],
)
def test_a_single_request_cannot_be_normalised(model: dict[str, Any], training: str, trains: bool) -> None:
    editor = tiny_editor(model=model, solver={"training": training, "batch_size": 1})
    runtime = TrainingRuntime(torch.device("cpu"))
    if trains:
        EditorRecipe(editor, editor.config, runtime)
        return
    with pytest.raises(ConfigError, match=r"solver.batch_size must be at least 2"):
        EditorRecipe(editor, editor.config, runtime)
