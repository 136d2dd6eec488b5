"""edit_distances against the mean over the NumPy reference's edited images, on every backend."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from backends import CPU, Backend
from editing.distance_inputs import METRICS, MIXED, candidates, composed, distances, gradients, pair, reference
from editing.edit_inputs import CHAIN, OPERATORS, POINTWISE, STENCILS, Edits, masked
from op_checks import PEAK, assert_compiles, assert_same, assert_threads_agree, peak_bytes
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp


@pytest.mark.sanitize
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("soft", [None, True, False], ids=["whole", "soft", "binary"])
def test_matches_reference(backend: Backend, soft: bool | None, metric: str) -> None:
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-13)):
        for height, width in ((1, 1), (5, 7), (9, 32)):  # pixels that are packs and registers, and that are not
            edits = candidates(2, MIXED)
            if soft is not None:
                edits = masked(edits, height, width, soft=soft)
            images, targets = pair(backend, 2, 3, height, width, dtype=dtype)
            found = distances(images, targets, edits.to(backend.device), metric)
            assert found.dtype == dtype
            wanted = reference(images.cpu(), targets.cpu(), edits, metric)
            torch.testing.assert_close(found.cpu().double(), wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_each_operator(backend: Backend, op: EditOp) -> None:
    edits = candidates(1, [[op]] * 5)
    images, targets = pair(backend, 1, 3, 6, 11)
    found = distances(images, targets, edits.to(backend.device))
    torch.testing.assert_close(found.cpu().double(), reference(images.cpu(), targets.cpu(), edits, "l1"),
                               rtol=0, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_big_images_and_many_candidates(backend: Backend, metric: str) -> None:
    """Several chunks, blocks of candidates, rounds and groups."""
    images, targets = pair(backend, 2, 3, 70, 140)
    edits = candidates(2, [[op] for op in OPERATORS] * 10).to(backend.device)
    found = distances(images, targets, edits, metric)
    wanted = composed(images.double(), targets.double(), replace(edits, params=edits.params.double()), metric)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 9, 32])
def test_other_numbers_of_steps(backend: Backend, steps: int) -> None:
    stencils = [*STENCILS * 2, *STENCILS[:2], *[EditOp.NONE] * 24]
    edits = candidates(1, [(POINTWISE * 3)[:steps], stencils[:steps], [EditOp.TONE_CURVE] * steps], 0.3)
    images, targets = pair(backend, 1, 3, 20, 30, dtype=torch.float64)
    found = distances(images, targets, edits.to(backend.device), "l2")
    wanted = reference(images.cpu(), targets.cpu(), edits, "l2")
    torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(backend: Backend, dtype: torch.dtype) -> None:
    """Computed and given in float32: edited images are not rounded."""
    images, targets = pair(backend, 2, 3, 9, 14, dtype=dtype)
    edits = candidates(2, MIXED, 0.5).to(backend.device)
    assert_same(distances(images, targets, edits), distances(images.float(), targets.float(), edits))
    found = gradients(images, targets, edits, "l2")
    wanted = gradients(images.float(), targets.float(), edits, "l2")
    assert [each.dtype for each in found] == [dtype, dtype, torch.float32]
    assert_same(found[0], wanted[0].to(dtype))
    assert_same(found[1], wanted[1].to(dtype))
    assert_same(found[2], wanted[2])


def test_bytes(backend: Backend) -> None:
    images, targets = torch.randint(256, (2, 2, 3, 7, 23), dtype=torch.uint8, device=backend.device)
    edits = candidates(2, MIXED).to(backend.device)
    params = edits.params.requires_grad_()
    found = distances(images, targets, edits)
    assert found.dtype == torch.float32
    wanted = reference(images.cpu().double() / 255, targets.cpu().double() / 255, replace(edits.to(CPU.device),
                       params=params.detach().cpu()), "l1")  # fmt: skip
    torch.testing.assert_close(found.detach().cpu().double(), wanted, rtol=0, atol=1e-6)
    (of_params,) = torch.autograd.grad(found.sum(), params)
    as_numbers = distances(images.float() * (1 / 255), targets.float() * (1 / 255), edits)
    torch.testing.assert_close(of_params, torch.autograd.grad(as_numbers.sum(), params)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0, 0)])
def test_no_candidates(backend: Backend, shape: tuple[int, int]) -> None:
    images, targets = pair(backend, shape[0], 3, 4, 8)
    edits = Edits(torch.zeros(*shape, 2, dtype=torch.int64), torch.zeros(*shape, 2, 24)).to(backend.device)
    assert distances(images, targets, edits).shape == shape
    assert not any(each.any() for each in gradients(images, targets, edits, "l1"))


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_images_without_pixels_are_where_they_should_be(backend: Backend, size: tuple[int, int]) -> None:
    images, targets = pair(backend, 2, 3, *size)
    edits = candidates(2, MIXED).to(backend.device)
    assert_same(distances(images, targets, edits), torch.zeros(2, len(MIXED), device=backend.device))
    assert not gradients(images, targets, edits, "l2")[2].any()


def test_no_steps(backend: Backend) -> None:
    images, targets = pair(backend, 2, 3, 5, 8)
    edits = Edits(torch.zeros(2, 3, 0, dtype=torch.int64), torch.zeros(2, 3, 0, 24)).to(backend.device)
    wanted = (images - targets).abs().mean((1, 2, 3))[:, None].expand(2, 3)
    torch.testing.assert_close(distances(images, targets, edits), wanted)
    of_images, of_targets, of_params = gradients(images, targets, edits, "l1")
    torch.testing.assert_close(of_images, 3 * (images - targets).sign() / images[0].numel())
    assert_same(of_targets, -of_images)
    assert of_params.shape == (2, 3, 0, 24)


def test_nan(backend: Backend) -> None:
    """Of a target it stays; of an image it ends at the first step."""
    images, targets = pair(backend, 2, 3, 4, 5)
    targets[0, 1, 2, 3] = images[1, 0, 0, 0] = float("nan")
    edits = candidates(2, [[EditOp.NONE], [EditOp.EXPOSURE]]).to(backend.device)
    for metric in METRICS:
        assert distances(images, targets, edits, metric).isnan().tolist() == [[True, True], [True, False]]


def test_non_contiguous_and_misaligned(backend: Backend) -> None:
    images, targets = pair(backend, 2, 3, 6, 8)
    edits = masked(candidates(2, MIXED), 6, 8, soft=False).to(backend.device)
    whole = distances(images, targets, edits)
    turned = images.contiguous(memory_format=torch.channels_last), targets.transpose(2, 3).contiguous().transpose(2, 3)
    assert_same(distances(*turned, edits), whole)
    shifted = torch.cat([images.flatten()[:1], images.flatten()])[1:].view(images.shape)
    torch.testing.assert_close(distances(shifted, targets, edits), whole)
    spread = Edits(
        *(each if each is None else each.repeat_interleave(2, -1)[..., ::2] for each in vars(edits).values())
    )
    assert_same(distances(images, targets, spread), whole)


def test_errors_name_the_argument(backend: Backend) -> None:
    images, targets = pair(backend, 2, 3, 5, 6)
    edits = candidates(2, [CHAIN[:2]] * 3).to(backend.device)
    masks = torch.ones(1, 5, 6, dtype=torch.bool, device=backend.device)
    index = torch.zeros_like(edits.ops)

    def refused(message: str, **changed: object) -> None:
        with pytest.raises((RuntimeError, ValueError), match=message):
            ldie_ext.edit_distances(**{"images": images, "targets": targets, **vars(edits), **changed})  # type: ignore[arg-type]

    refused(r"images must have shape \[B, 3, H, W\], got \[2, 3, 30\] float32", images=images.flatten(2))
    refused(r"images must be float32, float64, float16, bfloat16 or uint8", images=images.int())
    refused(r"targets must have the shape of images, .*, got \[1, 3, 5, 6\] float32", targets=targets[:1])
    refused(r"targets must be float32, got .* uint8", targets=targets.byte())
    refused(r"ops must be int64, got \[2, 3, 2\] int32", ops=edits.ops.int())
    refused(r"ops must have shape \[B, P, K\], got \[2, 2\] int64", ops=edits.ops[:, 0])
    refused(r"ops must have at most 32 steps, got 33", ops=index.repeat(1, 1, 17)[..., :33],
            params=edits.params.repeat(1, 1, 17, 1)[:, :, :33])  # fmt: skip
    refused(r"params must have shape \[B, P, K, 24\], as ops", params=edits.params[:, :2])
    refused(r"masks must have shape \[M, H, W\], as images", masks=masks[:, 1:], mask_index=index)
    refused(r"mask_index must be given with masks", masks=masks)
    refused(r"masks must be given with exclusive", exclusive=index > 0)
    refused(r"mask_index must have the shape of ops", masks=masks, mask_index=index[:, 0])
    refused(r"metric must be one of \['l1', 'l2'\], got 'l3'", metric="l3")
    with pytest.raises(RuntimeError, match=r"grad must have shape \[B, P\], as ops"):
        backend.op("edit_distances_backward")(
            torch.ones(2, device=backend.device),
            images,
            targets,
            edits.ops,
            edits.params,
            None,
            None,
            None,
            0,
            True,
            True,
        )


def test_values_that_are_wrong(backend: Backend) -> None:
    """Errors where the host can read them; on CUDA such a step does nothing."""
    images, targets = pair(backend, 1, 3, 4, 5)
    params = torch.ones(1, 2, 2, 24, device=backend.device)
    masks = torch.ones(2, 4, 5, dtype=torch.bool, device=backend.device)

    def call(op: int, mask: int = 0) -> Tensor:
        ops, index = torch.tensor([[[[0, 0], [0, op]]], [[[-1, -1], [-1, mask]]]], device=backend.device)
        return ldie_ext.edit_distances(images, targets, ops, params, masks, index)

    wrong = {
        r"ops must be numbers of EditOp, 0 to 15, but ops\[0, 1, 1\] is 16": lambda: call(16),
        r"ops must be numbers of EditOp, 0 to 15, but ops\[0, 1, 1\] is -1": lambda: call(-1),
        r"mask_index must be .*, 0 to 1, or -1, but mask_index\[0, 1, 1\] is 2": lambda: call(1, mask=2),
    }
    for message, function in wrong.items():
        if backend.device.type == "cuda":
            found = function()
            assert_same(found[:, 1], found[:, 0])
        else:
            with pytest.raises(RuntimeError, match=message):
                function()


def test_dispatcher_contract(backend: Backend) -> None:
    images, targets = pair(backend, 2, 3, 4, 5)
    edits = masked(candidates(2, [CHAIN[:3], CHAIN[2:]]), 4, 5, soft=True).to(backend.device)
    arguments = [*vars(edits).values()]
    leaves = images.clone().requires_grad_(), targets.clone().requires_grad_()
    torch.library.opcheck(
        backend.op("edit_distances"), (*leaves, arguments[0], edits.params.clone().requires_grad_(), *arguments[2:], 0)
    )
    grad = torch.ones(2, 2, device=backend.device)
    for wanted in ((True, False), (False, True)):
        torch.library.opcheck(backend.op("edit_distances_backward"), (grad, images, targets, *arguments, 1, *wanted))


def test_compiles(backend: Backend) -> None:
    images, targets = pair(backend, 2, 3, 4, 5)
    edits = candidates(2, [CHAIN[:3], CHAIN[2:]]).to(backend.device)
    assert_compiles(
        lambda *leaves: distances(*leaves[:2], replace(edits, params=leaves[2])), images, targets, edits.params
    )
    params = edits.params.clone().requires_grad_()
    function = torch.compile(lambda params: distances(images, targets, replace(edits, params=params)), fullgraph=True,
                             backend="aot_eager")  # fmt: skip
    compiled, *_ = torch.autograd.grad(function(params).sum(), params)
    eager, *_ = torch.autograd.grad(distances(images, targets, replace(edits, params=params)).sum(), params)
    assert_same(compiled, eager)


def test_threads_agree_and_so_do_runs() -> None:
    images, targets = pair(CPU, 2, 3, 100, 150)
    edits = masked(candidates(2, MIXED * 14), 100, 150, soft=True)
    assert_threads_agree(lambda: distances(images, targets, edits))
    assert_threads_agree(lambda: gradients(images, targets, replace(edits), "l1"))
    assert_same(distances(images, targets, edits), distances(images, targets, edits))


def test_a_candidate_does_not_depend_on_the_others(backend: Backend) -> None:
    images, targets = pair(backend, 1, 3, 30, 40)
    edits = candidates(1, MIXED * 16).to(backend.device)
    found = distances(images, targets, edits)
    for number in (70, 71):  # without and with stencils
        alone = Edits(*(each[:, number : number + 1] for each in (edits.ops, edits.params)))
        torch.testing.assert_close(found[:, number : number + 1], distances(images, targets, alone), rtol=1e-6, atol=0)


MEMORY = f"""{PEAK}
import sys, torch, ldie_ext
torch.set_num_threads(1)
P = int(sys.argv[1])
images, targets = torch.rand(2, 1, 3, 512, 512)
ops = torch.tensor([1, 2, 3, 4, 5]).repeat(1, P, 1)
params = torch.ones(1, P, 5, 24) * 0.9
params.requires_grad_(sys.argv[2] == "backward")
def run(count):
    out = ldie_ext.edit_distances(images, targets, ops[:, :count], params[:, :count])
    if params.requires_grad:
        out.sum().backward()
run(64)
before = peak()
run(P)
print(peak() - before)
"""


@pytest.mark.parametrize("what", ["forward", "backward"])
def test_memory_does_not_grow_with_candidates(what: str) -> None:
    """One edited image is 3 MiB; 192 more of them would be 576. Sums of gradients are kept for at most 64 at a time."""
    found = subprocess.run([sys.executable, "-c", MEMORY, "256", what], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 8 * 1024


def test_tensors_do_not_grow_with_candidates() -> None:
    images, targets = pair(CPU, 1, 3, 64, 64)

    def held(count: int) -> int:
        edits = candidates(1, [CHAIN] * count)
        return peak_bytes(lambda: distances(images, targets, edits))

    few, many = held(1), held(512)
    assert many - few <= 512 * (4 + 8)  # a result and one part of a sum for each
