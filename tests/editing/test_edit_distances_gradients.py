"""Gradients of edit_distances against those through apply_edits and by differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from backends import CPU, Backend
from editing.distance_inputs import METRICS, MIXED, candidates, composed, distances, gradients, pair
from editing.edit_inputs import CHAIN, masked
from op_checks import assert_same

from ldie_ext import EditOp


@pytest.mark.sanitize
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("soft", [None, True, False], ids=["whole", "soft", "binary"])
def test_gradients_are_those_through_apply_edits(backend: Backend, soft: bool | None, metric: str) -> None:
    for height, width in ((5, 7), (6, 32), (40, 36)):  # one tile, and several
        edits = candidates(2, MIXED, 0.6)
        if soft is not None:
            edits = masked(edits, height, width, soft=soft)
        edits = edits.to(backend.device)
        edits = replace(edits, params=edits.params.double(), masks=edits.masks.double() if soft else edits.masks)
        images, targets = pair(backend, 2, 3, height, width, dtype=torch.float64)
        weights = torch.randn(2, len(MIXED), dtype=torch.float64, device=backend.device)
        found = gradients(images, targets, edits, metric, weights=weights)
        wanted = gradients(images, targets, edits, metric, composed, weights)
        for actual, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(actual, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_of_big_images_and_many_candidates(backend: Backend, metric: str) -> None:
    """Several chunks, turns, strips and groups."""
    images, targets = pair(backend, 1, 3, 36, 136)
    edits = candidates(1, MIXED * (54 if backend is CPU else 18), 0.5).to(backend.device)
    found = gradients(images, targets, edits, metric)
    wanted = gradients(images, targets, edits, metric, composed)  # in float32, too: at a kink sides may differ
    for actual, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(actual, other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_gradcheck(backend: Backend) -> None:
    images, targets = pair(backend, 1, 3, 2, 3, dtype=torch.float64)
    edits = masked(candidates(1, [CHAIN, [EditOp.EXPOSURE, *CHAIN[:2], EditOp.HUE, EditOp.BLUR]], 0.4), 2, 3, soft=True)
    edits = edits.to(backend.device)
    edits = replace(edits, params=edits.params.double(), masks=edits.masks.double())
    for metric in METRICS:
        assert torch.autograd.gradcheck(
            lambda images, targets, params, metric=metric: distances(
                images, targets, replace(edits, params=params), metric
            ),
            (images.requires_grad_(), targets.requires_grad_(), edits.params.requires_grad_()),
            eps=1e-7,
            atol=1e-5,
        )


def test_no_gradient_where_there_is_no_distance(backend: Backend) -> None:
    images, _ = pair(backend, 1, 3, 8, 8)
    edits = candidates(1, [[EditOp.NONE], [EditOp.EXPOSURE]]).to(backend.device)
    edits.params.zero_()
    assert not distances(images, images, edits).any()
    assert not any(each.any() for each in gradients(images, images, edits, "l1"))


def test_refused_gradients(backend: Backend) -> None:
    images, targets = pair(backend, 1, 3, 4, 4)
    edits = masked(candidates(1, [CHAIN]), 4, 4, soft=True).to(backend.device)
    with pytest.raises(RuntimeError, match="not differentiable in masks"):
        distances(images, targets, replace(edits, masks=edits.masks.requires_grad_())).sum().backward()
    out = distances(images.requires_grad_(), targets, replace(edits, masks=None, mask_index=None, exclusive=None))
    gradient, *_ = torch.autograd.grad(out.sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="edit_distances_backward is not differentiable"):
        gradient.sum().backward()


def test_only_what_is_asked_for(backend: Backend) -> None:
    """A gradient that nobody wants takes no memory."""
    images, targets = pair(backend, 1, 3, 8, 8)
    edits = candidates(1, [CHAIN] * 2, 0.5).to(backend.device)
    arguments = torch.ones(1, 2, device=backend.device), images, targets, edits.ops, edits.params, None, None, None, 1
    whole = backend.op("edit_distances_backward")(*arguments, True, True)
    for of_images, of_targets in ((False, False), (True, False), (False, True)):
        some = backend.op("edit_distances_backward")(*arguments, of_images, of_targets)
        assert_same(some[2], whole[2])
        for found, wanted, asked in zip(some, whole, (of_images, of_targets), strict=False):
            assert_same(found, wanted if asked else wanted.new_empty(0))
