# SPDX-License-Identifier: Apache-2.0
"""Requests understood by rules on their words: the baseline of models that learn it, which never look at the picture.

A request is cut into parts at commas and words like "and". In each part a word is a quality ("contrast"), a change of
one ("brighten", "darker", "noise"), a direction ("more", "reduce"), how much, or what turns a meaning round ("too
dark", "not sharp enough"). What a part leaves open it has from the part before ("increase brightness and contrast").
Numbers come from tables of three levels. Where only the picture could tell ("fix the brightness") a rule cannot:
it takes more of the quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ldie.tasks.editing.replay import replayed
from ldie.tasks.editing.sample import EditInput, EditPrediction, EditSequence
from ldie.tasks.editing.words.rule_actions import steps_of, things_to_ask_for
from ldie.tasks.editing.words.rule_parts import Part, described, level_of, read_part
from ldie.tasks.editing.words.rule_words import CHANGES, NOTHING, Role, Word, read_words
from ldie_ext import EditOp, RecipeStep
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS


@dataclass(frozen=True)
class ParsedRequest:
    """What rules make of a request."""

    steps: tuple[RecipeStep, ...] = ()
    """In order, each operator once; ``INPAINT_OBJ`` has mask 0, the region. None where the request is refused."""
    unknown: tuple[str, ...] = ()
    """Words that no rule knows, in order."""
    refused: str | None = None
    """One line: what cannot be done and what can be asked for instead. None: the request can be carried out."""

    @property
    def sequence(self) -> EditSequence:
        """The steps that ``apply_edits`` does."""
        edits = [(EditOp[step.name], step.params) for step in self.steps if step.name in EditOp.__members__]
        if not edits:
            return EditSequence.empty()
        rows = [EDIT_OPERATORS[op].row(torch.tensor(params)) for op, params in edits]
        return EditSequence(torch.tensor([int(op) for op, _ in edits]), torch.stack(rows))


def parse_request(text: str, operators: Sequence[str], *, region: bool = False) -> ParsedRequest:
    """What a request asks for, by rules.

    Args:
        text: One or more sentences in English; case and punctuation do not matter.
        operators: Names of those that may be used, of :class:`ldie_ext.EditOp` or a recipe's executor. A quality is
            changed by the first operator in :mod:`~ldie.tasks.editing.words.rule_actions`' tables that is among them.
        region: Whether it is known where the object is that a request speaks of.

    Returns:
        Steps, or a refusal of the whole request: where it asks for what is no edit of colours and sharpness ("crop"),
        to remove an object without a region or without ``INPAINT_OBJ`` among the operators, for what none of the
        operators does, or for nothing that a rule knows (an empty text among it).

    Example:
        >>> parsed = parse_request("Make it slightly warmer, and it's too dark", ["BRIGHTNESS", "WHITE_BALANCE"])
        >>> [(step.name, step.params) for step in parsed.steps]
        [('WHITE_BALANCE', (1.08, 1.0, 0.92)), ('BRIGHTNESS', (0.275,))]
        >>> parse_request("remove the car", ["BRIGHTNESS"]).refused
        "removing 'car' needs its place in the picture (a mask or a box); ask for a brighter or darker picture instead"
    """
    words = read_words(text)
    unknown = tuple(dict.fromkeys(word.text for word in words if word.role in (Role.UNKNOWN, Role.BACKGROUND)))
    parts = _in_order(_parts(words))
    steps, missing = steps_of([action for part in parts for action in part.actions], operators)
    reason = _refusal(parts, operators, region)
    if reason is None and missing:
        reason = f"none of the operators here makes {missing[0]}"
    if reason is None and not steps:
        reason = "no word of it says what to change"
    if reason is not None:
        return ParsedRequest((), unknown, f"{reason}; ask for {things_to_ask_for(operators)} instead")
    return ParsedRequest(tuple(steps), unknown)


def predict_by_rules(inputs: Sequence[EditInput], operators: Sequence[str]) -> list[EditPrediction]:
    """The rules as a model: what :meth:`ldie.contract.Model.predict` gives. A refused request has no steps."""
    predictions = []
    for each in inputs:
        steps = parse_request(each.request, operators, region=each.region is not None).sequence
        words = tuple(word.text for word in read_words(each.request))
        predictions.append(EditPrediction(steps, replayed(each.image, steps, each.region), words))
    return predictions


def _refusal(parts: Sequence[Part], operators: Sequence[str], region: bool) -> str | None:
    """What of a request no operator does, or not without knowing where."""
    for part in parts:
        if part.refused:
            return part.refused
        if part.erased and not region:
            return f"removing {part.erased} needs its place in the picture (a mask or a box)"
        if part.erased and "INPAINT_OBJ" not in operators:
            return f"removing {part.erased} needs INPAINT_OBJ, which is none of the operators here"
        if part.whitens and not region:
            return "a white background needs its place in the picture (a mask or a box)"
    return None


def _parts(words: Sequence[Word]) -> list[Part]:
    """The request's parts, each read with what it takes over from the one before."""
    parts: list[Part] = []
    for chunk in _chunks(words):
        part = read_part(chunk, parts[-1] if parts else Part([]))
        if parts and _only_says_how_much(part, parts[-1]):
            level = 0 if part.has(Role.NOT) else level_of(chunk)
            parts[-1].actions = [replace(action, level=level) for action in parts[-1].actions]
        else:
            parts.append(part)
    _share_levels(parts)
    if not any(part.actions for part in parts):  # "the dark photo": nothing else says what is wanted
        for part in parts:
            part.actions = [] if part.refused else described(part.words)
    return parts


def _chunks(words: Sequence[Word]) -> list[list[Word]]:
    chunks: list[list[Word]] = [[]]
    for word in words:
        if word.role in (Role.JOIN, Role.BEFORE, Role.AFTER):
            chunks.append([])
        if word.role is not Role.JOIN:
            chunks[-1].append(word)
    return [chunk for chunk in chunks if chunk]


def _only_says_how_much(part: Part, before: Part) -> bool:
    """Whether a part is one like "but not too much" or, behind "brighter", "but not too bright"."""
    roles = {word.role for word in part.words}
    if {Role.NOT, Role.TOO} <= roles and not roles & {Role.IS, Role.MAKE}:
        return {action.quality for action in part.actions} <= {action.quality for action in before.actions}
    return Role.DEGREE in roles and roles <= {Role.DEGREE, Role.NOT, Role.TOO, Role.ARTICLE, *NOTHING}


def _share_levels(parts: Sequence[Part]) -> None:
    """In "brightness and contrast slightly" what is said behind the last of them counts for those before, too."""
    for part, following in zip(parts[-2::-1], parts[:0:-1]):
        only_names = not following.has(*CHANGES, Role.DIRECTION) and following.words[0].role is not Role.DEGREE
        if only_names and following.actions and not part.has(Role.DEGREE):
            part.actions = [replace(action, level=following.actions[0].level) for action in part.actions]


def _in_order(parts: Sequence[Part]) -> list[Part]:
    """Parts as they are to be carried out: by "first", "finally", "after" and "before"."""
    ordered: list[Part] = []
    for part in parts:
        if part.has(Role.AFTER) and ordered:
            ordered.insert(len(ordered) - 1, part)  # sharpen after brightening
        elif len(ordered) == 1 and ordered[0].has(Role.BEFORE):
            ordered.insert(0, part)  # before sharpening, brighten
        else:
            ordered.append(part)
    return sorted(ordered, key=lambda part: part.has(Role.LAST) - part.has(Role.FIRST))
