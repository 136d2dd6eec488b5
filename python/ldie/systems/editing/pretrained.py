# SPDX-License-Identifier: Apache-2.0
"""Weights to start from: an editor with other words or operators, or an image encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ldie.nn.weights import copy_fitting
from ldie.systems.editing.model import Editor
from ldie.weights import read_weights
from ldie.weights.facts import read_facts

WORDS = ("language.embedding.words", "discriminator.language.embedding.words")
TOKENS = ("decoder.embedding.weight", "decoder.choice.weight", "decoder.choice.bias")
"""Weights with a row for each word, and for END and each operator."""


def load_pretrained(model: Editor, path: Path) -> None:
    """Starts an editor from weights; what fits by name and shape is loaded, the rest is fresh, and a list is logged.

    Words and operators that a checkpoint of ours has, too, keep what it knows of them, whatever their numbers.

    Raises:
        CheckpointError: The file cannot be read, or nothing of it fits.
    """
    weights, facts, own = read_weights(path), read_facts(path), model.state_dict()
    for name in WORDS:
        _move(weights, own, name, facts.get("vocabulary", ()), model.vocabulary.words)
    for name in TOKENS:
        operators = [op.name for op in model.operators]
        _move(weights, own, name, ["END", *facts.get("operators", ())], ["END", *operators])
    copy_fitting(model, weights, str(path))


def _move(
    weights: dict[str, Tensor], own: dict[str, Tensor], name: str, theirs: Sequence[str], ours: Sequence[str]
) -> None:
    """Puts rows where ours have their meaning; new ones stay as they are. What cannot be told apart is left alone."""
    given, fresh = weights.get(name), own.get(name)
    if given is None or fresh is None or len(given) != len(theirs) or given.shape[1:] != fresh.shape[1:]:
        return
    places = {word: row for row, word in enumerate(theirs)}
    moved = fresh.clone()
    for row, word in enumerate(ours):
        if word in places:
            moved[row] = given[places[word]]
    weights[name] = moved
