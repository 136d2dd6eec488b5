# SPDX-License-Identifier: Apache-2.0
"""Ranks of one training run, started by ``torchrun``; every function is a no-op in a single process."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ldie.errors import ConfigError, UserError
from ldie.files import first_line

T = TypeVar("T")

BUCKET_BYTES = 2**25
"""Gradients that travel together: enough to use the network well, little enough that several are under way."""


def is_active() -> bool:
    """Whether there is more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Index of this process, 0 for the one that writes files."""
    return dist.get_rank() if is_active() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if is_active() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Joins the ranks that ``torchrun`` started (NCCL on CUDA, gloo on CPU) and leaves them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    # Torch imports this with its first optimizer step, and defaults of its functions take hold of the group there is at
    # that time: its threads would outlive destroy_process_group and abort the process where they meet its end.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_device(name: str | None = None) -> torch.device:
    """The device of this process, seen to work: ``name`` if given, else a GPU, else the CPU.

    ``cuda`` alone is the rank's own GPU.

    Raises:
        ConfigError: Another kind of device, or one that is not here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise ConfigError(f"--device must be cpu, cuda or cuda:N, got {name!r}")
    device = torch.device(name)
    if device.type == "cuda" and device.index is None:  # which set_device does not take
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        if torch.cuda.is_available() and device.type == "cuda":
            torch.cuda.set_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {name} cannot be used here ({first_line(error)}); use cpu, or see ldie info"
        ) from error
    return device


def barrier() -> None:
    """Waits for all ranks."""
    if is_active():
        dist.barrier()


@contextmanager
def first_rank_first() -> Iterator[None]:
    """What rank 0 does inside, for instance writing files, is done before the other ranks come in.

    Raises:
        UserError: What rank 0 met; the other ranks do not come in then.
    """
    if rank() != 0:
        _hear_of_rank_0()
        yield
        return
    try:
        yield
    except UserError as error:
        _tell_ranks(error)
        raise
    _tell_ranks(None)


def _tell_ranks(failure: UserError | None) -> None:
    if is_active():
        dist.broadcast_object_list([failure], src=0)


def _hear_of_rank_0() -> None:
    heard: list[Any] = [None]
    dist.broadcast_object_list(heard, src=0)
    if heard[0] is not None:
        raise heard[0]


def broadcast_state(module: nn.Module) -> None:
    """Gives every rank the parameters and buffers of rank 0."""
    if is_active():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def average_gradients(params: Sequence[Tensor]) -> None:
    """Replaces each gradient by its mean over the ranks, for recipes that DistributedDataParallel cannot serve.

    That one ties a backward to a forward. A recipe may run two optimizers on one graph, call one network for three
    inputs and leave networks out in some phases; so gradients are averaged right before the optimizer step, in buckets
    that are all under way at once.

    A parameter without a gradient on some ranks counts as zero there, one without on all ranks stays without
    (optimizers then skip it). Only a rank that lacks a gradient has to ask for that, which waits for the device.
    """
    if not is_active() or not params:
        return
    present = torch.tensor([p.grad is not None for p in params], dtype=torch.float32)
    missing = not bool(present.all())
    present = present.to(params[0].device, non_blocking=True)
    asked = dist.all_reduce(present, async_op=True)
    under_way = []
    for bucket in _buckets(params):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        under_way.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in under_way:
        work.wait()
        _take(bucket, flat.div_(world_size()))
    asked.wait()
    if missing:
        for p, count in zip(params, present.tolist()):
            if not count:
                p.grad = None


def _buckets(params: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters of one type, up to about :data:`BUCKET_BYTES` together."""
    for dtype in dict.fromkeys(p.dtype for p in params):
        bucket: list[Tensor] = []
        size = 0
        for p in (p for p in params if p.dtype == dtype):
            bucket.append(p)
            size += p.numel() * p.element_size()
            if size >= BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket


def _take(bucket: Sequence[Tensor], flat: Tensor) -> None:
    """Copies a bucket's values into the gradients, which keep their memory layout."""
    for p, values in zip(bucket, flat.split([p.numel() for p in bucket])):
        if p.grad is None:
            p.grad = torch.empty_like(p)
        p.grad.copy_(values.view_as(p))


def total(values: Tensor) -> Tensor:
    """Sum of a tensor over the ranks."""
    if is_active():
        values = values.clone()
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Mean of a tensor over the ranks."""
    return total(values) / world_size() if is_active() else values


def gather(item: T) -> list[T]:
    """One object of every rank, in rank order, on every rank."""
    if not is_active():
        return [item]
    packed = io.BytesIO()
    _Pickler(packed, pickle.HIGHEST_PROTOCOL).dump(item)
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, packed.getvalue())
    return [pickle.loads(part) for part in items]


class _Pickler(pickle.Pickler):
    """Packs tensors on the CPU as NumPy arrays, faster than torch does, and of a view no more than what it shows."""

    def reducer_override(self, item: Any) -> Any:
        if type(item) is Tensor:
            try:
                return torch.from_numpy, (item.numpy(),)
            except (TypeError, RuntimeError):  # a type that NumPy lacks, another device, a gradient
                return NotImplemented
        return NotImplemented
