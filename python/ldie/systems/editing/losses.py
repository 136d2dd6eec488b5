# SPDX-License-Identifier: Apache-2.0
"""What the editor learns from steps that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ldie.nn.language import LanguageCode
from ldie.systems.editing.batch import EditBatch
from ldie.systems.editing.decoder import END
from ldie.systems.editing.heads import CURVES, DiscreteHeads
from ldie.systems.editing.model import Editor
from ldie.tasks.editing.replay import edited_batch
from ldie_ext import EditOp
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS


def pictures_between(batch: EditBatch, codes: Tensor) -> Tensor:
    """The picture before each of the known steps and behind the last.

    Args:
        batch: B requests with up to K steps.
        codes: int64 [1 + operators], numbers in ``EditOp`` of the tokens.

    Returns:
        float [B, K + 1, 3, H, W].
    """
    images, (count, steps) = batch.source.float() / 255, batch.tokens.shape
    done = torch.ones(steps, steps, dtype=torch.bool, device=images.device).tril(-1)  # row t: the t first steps
    ops = (codes[batch.tokens][:, None] * done).flatten(0, 1)
    params = batch.params[:, None].expand(-1, steps, -1, -1).flatten(0, 1)
    regions = None if batch.regions is None else batch.regions.repeat_interleave(steps, 0)
    return edited_batch(images.repeat_interleave(steps, 0), ops, params, regions).unflatten(0, (count, steps))


def supervised_losses(
    model: Editor, batch: EditBatch, language: LanguageCode, share: Callable[[Tensor], Tensor] = lambda counts: counts
) -> dict[str, Tensor]:
    """Cross entropy of the operators and squared error of their parameters, given the steps before (teacher forcing).

    Where parameters are discrete, it is the cross entropy of the levels nearest to the known ones.

    Every step sees the picture as the known steps before it have left it. The published loss divides a step's squared
    error by how many of its 24 parameters are not zero, which leaves a true zero out; here it is the mean over those
    that the operator has.

    Args:
        model: Learns.
        batch: Requests with known steps.
        language: Its requests as the model reads them.
        share: From the numbers of this process's choices and steps to what their sums are divided by, where several
            processes share a batch: the mean over them.
    """
    count, steps = batch.tokens.shape
    with torch.no_grad():
        pictures = pictures_between(batch, model.codes)
    regions = None if batch.regions is None else batch.regions.repeat_interleave(steps, 0)
    codes = model.see(pictures.flatten(0, 1), regions)
    before = nn.functional.pad(batch.tokens[:, :-1], (1, 0), value=END)
    images = None if codes is None else codes.unflatten(0, (count, steps))
    thoughts = model.decoder(before, images, language, model.decoder.start(language))
    places = torch.arange(steps, device=before.device)
    decided = places <= batch.counts[:, None]  # the steps and END
    logits = model.decoder.logits(thoughts.hidden).float()
    operators = nn.functional.cross_entropy(logits.flatten(0, 1), batch.tokens.flatten(), reduction="none")
    tokens = batch.tokens.flatten()
    heads, hidden, known = model.decoder.parameters_of, thoughts.hidden.flatten(0, 1), batch.params.flatten(0, 1)
    if isinstance(heads, DiscreteHeads):
        errors = heads.errors(hidden, tokens, known)
    else:
        errors = parameter_errors(model.parameters_of(hidden, tokens).float(), known, tokens, model.operators)
    choices, steps_done = share(torch.stack([decided.sum(), batch.counts.sum()]).to(errors.dtype))
    return {
        "operator_loss": (operators * decided.flatten()).sum() / choices,
        "parameter_loss": errors.sum() / steps_done.clamp(min=1 / len(batch.counts)),
    }


def parameter_errors(found: Tensor, wanted: Tensor, tokens: Tensor, operators: Sequence[EditOp]) -> Tensor:
    """Mean squared errors [N] of parameters [N, 24] over those that each token's operator has; 0 for END.

    A curve's weights count by their ratios alone, so both are divided by their means.
    """
    widths = tokens.new_tensor([0, *(EDIT_OPERATORS[op].parameters for op in operators)])[tokens]
    curves = tokens.new_tensor([0, *(op in CURVES for op in operators)]).bool()[tokens]
    used = torch.arange(found.shape[1], device=tokens.device) < widths[:, None]
    found, wanted = (torch.where(curves[:, None], _scaled(rows, used), rows) for rows in (found, wanted))
    return ((found - wanted).square() * used).sum(1) / widths.clamp(min=1)


def _scaled(rows: Tensor, used: Tensor) -> Tensor:
    """Each row's numbers in use divided by their mean."""
    kept = rows * used
    return kept / (kept.sum(1, keepdim=True) / used.sum(1, keepdim=True).clamp(min=1)).clamp(min=1e-6)
