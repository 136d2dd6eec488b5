# SPDX-License-Identifier: Apache-2.0
"""A request to edit a picture with what is known of its answer, and what a model made of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ldie_ext.ops.editing.edit_op import NUM_PARAMETERS


@dataclass(frozen=True)
class EditSequence:
    """K steps, each by an operator with its parameters; all of them act in the sample's region."""

    ops: Tensor
    """int64 [K], numbers of :class:`ldie_ext.EditOp`; no NONE."""
    params: Tensor
    """float32 [K, 24], zeros behind what the operator uses."""

    def __len__(self) -> int:
        return len(self.ops)

    @staticmethod
    def empty() -> EditSequence:
        """No steps."""
        return EditSequence(torch.zeros(0, dtype=torch.int64), torch.zeros(0, NUM_PARAMETERS))


@dataclass(frozen=True)
class EditSample:
    """A picture, a request, and what the request's author made of the picture."""

    key: str
    """Tells it from all others of its split."""
    source: Tensor
    """uint8 [3, H, W], RGB."""
    request: str
    """One sentence, as it was written."""
    target: Tensor | None = None
    """uint8 [3, H, W], RGB; None where there is none to learn from."""
    region: Tensor | None = None
    """bool [H, W]: where the request's steps act; None: everywhere."""
    steps: EditSequence | None = None
    """What makes the target of the source: the truth, or a plan; None where neither is known."""
    operators: frozenset[str] = field(default=frozenset())
    """Names of the operators that annotators say the request asks for, those without a number in ``EditOp`` too."""
    kind: str = "plain"
    """``plain``: words alone decide; ``fix``: the picture decides how much; ``referring``: names an object."""

    def without_pictures(self) -> EditSample:
        """The same, as far as it takes no room."""
        return replace(self, source=self.source.new_empty(3, 0, 0), target=None, region=None)


@dataclass(frozen=True)
class EditInput:
    """What a model may know of a sample."""

    image: Tensor
    """uint8 [3, H, W], RGB; of any size."""
    request: str
    region: Tensor | None = None
    """bool [H, W]; None: everywhere."""


@dataclass(frozen=True)
class JudgedInput(EditInput):
    """What a model may know that judges a picture: whether it answers the request."""

    picture: Tensor = field(kw_only=True)
    """uint8 [3, H, W], of the image's size."""


@dataclass(frozen=True)
class EditPrediction:
    """What a model makes of a request. Models fill what they decide, the rest stays None."""

    steps: EditSequence | None = None
    """The steps that it would take."""
    image: Tensor | None = None
    """uint8 [3, H, W]: what they make of the picture, at its size; None: nobody has asked yet, see
    :func:`ldie.tasks.editing.replay.picture_of`. Of a data set, many predictions are kept at a time."""
    words: tuple[str, ...] = ()
    """The request's words as the model read them."""
    attention: Tensor | None = None
    """float32 [K, W]: how much of each step came from each word; rows add up to 1."""
    operator_scores: Tensor | None = None
    """float32 [labels]: how likely each operator is asked for."""
    labels: tuple[str, ...] = ()
    """The operators that ``operator_scores`` are of."""
    realness: Tensor | None = None
    """float32 []: how well the judged picture answers the request, from 0 to 1."""
