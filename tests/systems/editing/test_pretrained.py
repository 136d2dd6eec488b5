# SPDX-License-Identifier: Apache-2.0
"""Starting from an editor with other words and operators."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from ldie.config import to_dict
from ldie.engine.checkpoint import Header, save_weights
from ldie.errors import CheckpointError
from ldie.systems.editing import Editor
from ldie.systems.editing.pretrained import load_pretrained
from systems.editing.helpers import FACTS, tiny_config, tiny_editor

OTHER = {"operators": ["SATURATION", "BLUR", "BRIGHTNESS"], "vocabulary": ["and", "softer", "pale", "brighter"]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model, path = tiny_editor(seed=1), tmp_path / "editor.safetensors"
    save_weights(path, model.state_dict(), Header("editing", to_dict(model.config), FACTS, 7))
    return path


def test_words_and_operators_keep_their_meaning(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = tiny_editor(seed=1)
    torch.manual_seed(2)
    new = Editor.from_config(tiny_config(), OTHER)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    caplog.set_level(logging.INFO, "ldie")
    load_pretrained(new, checkpoint)
    words = new.language.embedding.words
    for word in ("and", "pale", "brighter"):
        row, was = OTHER["vocabulary"].index(word), FACTS["vocabulary"].index(word)
        assert torch.equal(words[row], old.language.embedding.words[was])
    assert torch.equal(words[1], fresh["language.embedding.words"][1])  # softer
    for name in ("END", "SATURATION", "BRIGHTNESS"):
        row, was = (["END", *facts["operators"]].index(name) for facts in (OTHER, FACTS))
        assert torch.equal(new.decoder.choice.weight[row], old.decoder.choice.weight[was])
        assert torch.equal(new.decoder.embedding.weight[row], old.decoder.embedding.weight[was])
    ours, theirs = new.decoder.parameters_of.networks, old.decoder.parameters_of.networks
    assert torch.equal(ours["BRIGHTNESS"][2].weight, theirs["BRIGHTNESS"][2].weight)
    assert torch.equal(ours["BLUR"][2].weight, fresh["decoder.parameters_of.networks.BLUR.2.weight"])
    assert torch.equal(new.images.state_dict()["code.0.weight"], old.images.state_dict()["code.0.weight"])
    assert "start afresh: decoder.parameters_of.networks.BLUR.*" in caplog.text
    assert "not used" in caplog.text and "TONE_CURVE" in caplog.text


def test_a_file_without_facts_gives_what_fits(checkpoint: Path, tmp_path: Path) -> None:
    old, path = tiny_editor(seed=1), tmp_path / "encoder.pth"
    torch.save({f"images.{name}": value for name, value in old.images.state_dict().items()}, path)
    new = tiny_editor(seed=2)
    load_pretrained(new, path)
    assert torch.equal(new.images.state_dict()["code.0.weight"], old.images.state_dict()["code.0.weight"])


def test_what_fits_nowhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"backbone.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="none of its 1 weights fits"):
        load_pretrained(tiny_editor(), path)
