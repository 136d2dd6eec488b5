# SPDX-License-Identifier: Apache-2.0
"""Device, precision and optimizer steps of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ldie.engine import distributed
from ldie.errors import ConfigError


class TrainingRuntime:
    """The :class:`ldie.contract.Runtime` of one training run.

    Args:
        device: Where the model lives.
        mixed_precision: ``none``, ``bf16`` or ``fp16``; only fp16 needs a gradient scaler.
    """

    def __init__(self, device: torch.device, mixed_precision: str = "none") -> None:
        self.device = device
        self._dtype = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}[mixed_precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=mixed_precision == "fp16")
        self._averaged_in_backward: set[Tensor] = set()
        self._replicas: WeakSet[DistributedDataParallel] = WeakSet()  # one may hold this runtime, and a process group
        self._part, self._parts = 0, 1
        self._in_part: set[Optimizer] = set()
        self._in_step: set[Optimizer] = set()
        self.has_updated = False
        """Whether an optimizer has changed weights since the last whole step."""

    @property
    def world_size(self) -> int:
        """See :attr:`ldie.contract.Runtime.world_size`."""
        return distributed.world_size()

    def total(self, counts: Tensor) -> Tensor:
        """See :meth:`ldie.contract.Runtime.total`."""
        return distributed.total(counts)

    def replicate(self, module: nn.Module) -> nn.Module:
        """See :meth:`ldie.contract.Runtime.replicate`."""
        if not distributed.is_active():
            return module
        self._averaged_in_backward |= {p for p in module.parameters() if p.requires_grad}
        devices = [self.device] if self.device.type == "cuda" else None
        replica = DistributedDataParallel(module, devices, gradient_as_bucket_view=True)
        self._replicas.add(replica)
        return replica

    @contextmanager
    def part(self, index: int, count: int) -> Iterator[None]:
        """Context of the training step on one of the ``count`` batches whose gradients make up a step.

        The first gradients of an optimizer replace those that are there, the others are added; only in the last do
        optimizers step.
        """
        self._part, self._parts = index, count
        self._in_part.clear()
        if index == 0:
            self._in_step.clear()
        with ExitStack() as stack:
            if index < count - 1:
                for replica in self._replicas:
                    stack.enter_context(replica.no_sync())
            try:
                yield
            finally:
                self._part, self._parts = 0, 1

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None)

    def gradients(
        self, optimizer: Optimizer, loss: Tensor, *, retain_graph: bool = False, accumulate: bool = False
    ) -> None:
        """See :meth:`ldie.contract.Runtime.gradients`."""
        if not accumulate and not (self._parts > 1 and self._has_gradients(optimizer)):
            optimizer.zero_grad(set_to_none=True)
        if self._parts > 1:
            loss = loss / self._parts
        self.scaler.scale(loss).backward(inputs=parameters(optimizer), retain_graph=retain_graph)

    def _has_gradients(self, optimizer: Optimizer) -> bool:
        """Whether it has some of an earlier part of this step; asked once in every part."""
        if optimizer in self._in_part:
            raise ConfigError(
                f"solver.accumulate must be 1 for this system, got {self._parts}; one of its optimizers takes several "
                "steps on a batch"
            )
        has_gradients = optimizer in self._in_step
        self._in_part.add(optimizer)
        self._in_step.add(optimizer)
        return has_gradients

    def apply(self, optimizer: Optimizer, clip: float = 0.0) -> None:
        """See :meth:`ldie.contract.Runtime.apply`."""
        if self._part < self._parts - 1:
            return
        params = parameters(optimizer)
        distributed.average_gradients([p for p in params if p not in self._averaged_in_backward])
        if clip > 0:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(params, clip)
        self.has_updated = True
        self.scaler.step(optimizer)

    def update(self, optimizer: Optimizer, loss: Tensor, clip: float = 0.0) -> None:
        """See :meth:`ldie.contract.Runtime.update`."""
        self.gradients(optimizer, loss)
        self.apply(optimizer, clip)

    def end_step(self) -> None:
        """Adapts the fp16 scale; the loop calls it once after every training step."""
        if self.scaler.is_enabled():
            self.scaler.update()
        self.has_updated = False

    def random_state(self) -> dict[str, Tensor]:
        """States of the random generators that a step may draw from."""
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def set_random_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what :meth:`random_state` gave; a state of a device that is not here is left out."""
        torch.set_rng_state(state["cpu"])
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.device)


def parameters(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of an optimizer that are trained."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
