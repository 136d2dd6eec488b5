# SPDX-License-Identifier: Apache-2.0
import gc
import os
import signal
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from ldie.engine import distributed
from ldie.engine.interrupt import StopSignal
from ldie.engine.loader import to_device
from ldie.engine.runtime import TrainingRuntime

CPU = torch.device("cpu")


@pytest.fixture
def game():
    """Two players with one parameter each; the loss of one is the negative of the other's."""
    a, b = (torch.nn.Parameter(torch.tensor(value)) for value in (3.0, 5.0))
    return a, b, torch.optim.SGD([a], lr=0.1), torch.optim.SGD([b], lr=0.1)


@pytest.mark.parametrize("precision", ["none", "fp16"])
def test_update_steps_its_own_parameters_only(game, precision):
    a, b, first, _ = game
    runtime = TrainingRuntime(CPU, precision)
    runtime.update(first, a * b)
    runtime.end_step()
    assert a.item() == pytest.approx(3 - 0.1 * 5)
    assert b.item() == 5 and b.grad is None


@pytest.mark.parametrize("precision", ["none", "fp16"])
def test_parts_of_a_step_add_up_to_their_mean(game, precision):
    """Also where an optimizer has no loss on the first part: what the step before left does not count."""
    a, b, first, second = game
    runtime = TrainingRuntime(CPU, precision)
    for step in range(2):
        before = a.item(), b.item()
        for part in range(2):
            with runtime.part(part, 2):
                runtime.update(first, a * (2 + 4 * part))
                assert (a.item() == before[0]) == (part == 0)
                if part == 1:
                    runtime.update(second, b * 6)
        runtime.end_step()
        assert a.item() == pytest.approx(3 - 0.1 * 4 * (step + 1))
        assert b.item() == pytest.approx(5 - 0.1 * 3 * (step + 1))
    runtime.update(first, a * 1)
    assert a.item() == pytest.approx(3 - 0.8 - 0.1), "afterwards a step is one batch again"


def test_two_optimizers_on_one_graph(game):
    a, b, first, second = game
    runtime = TrainingRuntime(CPU)
    product = a * b
    runtime.gradients(first, product, retain_graph=True)
    runtime.gradients(second, -product)
    runtime.apply(first)
    runtime.apply(second)
    assert (a.item(), b.item()) == (pytest.approx(3 - 0.1 * 5), pytest.approx(5 + 0.1 * 3))


@pytest.mark.parametrize("precision", ["none", "fp16"])
def test_clip_limits_the_norm_of_the_unscaled_gradient(precision):
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    runtime = TrainingRuntime(CPU, precision)
    loss = 3 * weights[0].sum() + 4 * weights[1].sum()  # gradient norm sqrt(2) * 5
    runtime.update(torch.optim.SGD(weights, lr=1.0), loss, clip=0.5)
    step = torch.cat([weight.detach() for weight in weights])
    assert step.norm().item() == pytest.approx(0.5, rel=1e-4)
    assert step[2] / step[0] == pytest.approx(4 / 3, rel=1e-4)


def test_fp16_skips_a_step_that_overflows(game):
    a, _, first, _ = game
    runtime = TrainingRuntime(CPU, "fp16")
    before = runtime.scaler.get_scale()
    runtime.update(first, a * float("inf"))
    runtime.end_step()
    assert a.item() == 3
    assert runtime.scaler.get_scale() < before


@pytest.mark.parametrize(("precision", "dtype"), [("none", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast(precision, dtype):
    with TrainingRuntime(CPU, precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


class Pair(NamedTuple):
    x: torch.Tensor
    name: str


def test_a_replica_of_a_module_that_knows_the_runtime_is_gone_with_its_owner(monkeypatch):
    """It holds the process group, whose threads must not outlive the run until garbage is collected."""

    class Replica(torch.nn.Module):
        def __init__(self, module, devices, **options):
            super().__init__()
            self.module = module

    monkeypatch.setattr("ldie.engine.runtime.DistributedDataParallel", Replica)
    monkeypatch.setattr(distributed, "is_active", lambda: True)
    module = torch.nn.Linear(2, 2)
    module.runtime = TrainingRuntime(CPU)
    replica = module.runtime.replicate(module)
    gone = weakref.ref(replica)
    gc.disable()
    try:
        del replica
        assert gone() is None
    finally:
        gc.enable()


@dataclass
class Item:
    pair: Pair
    values: list[torch.Tensor]


def test_batches_of_any_nesting_move():
    batch = {"item": Item(Pair(torch.ones(2), "a"), [torch.zeros(1)]), "count": 3, "sizes": (torch.ones(1), None)}
    moved = to_device(batch, torch.device("meta"))
    assert moved["item"].pair.x.device.type == moved["item"].values[0].device.type == "meta"
    assert moved["sizes"][0].device.type == "meta" and moved["sizes"][1] is None
    assert (moved["item"].pair.name, moved["count"]) == ("a", 3)
    assert batch["item"].pair.x.device.type == "cpu"


def test_the_second_interrupt_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with StopSignal(CPU) as stop:
        assert not stop.wanted(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wanted(2)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
