# SPDX-License-Identifier: Apache-2.0
"""A model and how it learns: all that a training step changes, and what a resume needs of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ldie.config import RunConfig
from ldie.contract import Facts, Model, System
from ldie.engine import distributed
from ldie.engine.average import WeightAverage
from ldie.engine.runtime import TrainingRuntime
from ldie.errors import ConfigError, TrainingError
from ldie.files import first_line
from ldie.nn.weights import copy_whole
from ldie.schedule import set_learning_rates

BACKEND = "inductor"
"""What compiles."""


class Learner:
    """Weights that depend on ``config.seed`` alone, their average if there is one, optimizers, precision.

    Args:
        system: Model and recipe.
        config: Its configuration, durations in steps.
        facts: Of the training data.
        runtime: Device and precision.

    Raises:
        ConfigError: Keys that do not fit together.
    """

    def __init__(self, system: System, config: RunConfig, facts: Facts, runtime: TrainingRuntime) -> None:
        torch.manual_seed(config.seed)
        solver = config.solver
        self.runtime = runtime
        self.model = system.model.from_config(config, facts)
        if solver.sync_batchnorm and runtime.device.type == "cuda" and distributed.is_active():
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.model.to(runtime.device)
        self._average = WeightAverage(self.model, solver.ema_decay) if solver.ema_decay else None
        self.recipe = system.recipe(self.model, self.model.config, runtime)
        self.recipe.train_mode()
        torch.manual_seed(config.seed + 1 + distributed.rank())
        self._is_compiled = solver.compile
        if self._is_compiled:
            self._compile()

    def _compile(self) -> None:
        modules = self.recipe.compiled()
        if not modules:
            raise ConfigError("solver.compile must be false for this system; its step calls no module as a whole")
        from torch._functorch import config  # not needed otherwise, and slow

        config.donated_buffer = False  # two optimizers may walk one graph
        for module in modules:
            module.compile(backend=BACKEND)  # in place: names of weights stay; a size that changes becomes any size

    def eager(self) -> AbstractContextManager[Any]:
        """Context without compiled modules: in evaluations every image has a size of its own."""
        return torch.compiler.set_stance("force_eager") if self._is_compiled else nullcontext()

    @property
    def result(self) -> Model:
        """What has been learned so far, to evaluate and to save: the average of the weights, or the model itself."""
        return self._average.model if self._average else self.model

    def start(self) -> None:
        """Loads the weights that a fresh run starts from."""
        self.recipe.load_pretrained()
        if self._average:
            self._average.restart(self.model)

    def agree(self) -> None:
        """Gives every rank the weights of rank 0: their batch-norm statistics differ."""
        distributed.broadcast_state(self.model)
        if self._average:
            distributed.broadcast_state(self._average.model)

    def step(self, batches: Iterator[Any], step: int) -> list[dict[str, Tensor]]:
        """One training step after ``step`` steps.

        Args:
            batches: As many of them as make up a step are taken, one after the other.
            step: Steps done before.

        Returns:
            The terms to log, of each batch.
        """
        for name, optimizer in self.recipe.optimizers.items():
            set_learning_rates(optimizer, self.recipe.lr_factor(name, step))
        parts = self.model.config.solver.accumulate
        terms = []
        for part in range(parts):
            batch = next(batches)
            with self.runtime.part(part, parts), self._compiler_errors():
                terms.append(self.recipe.train_step(batch, step))
        if self._average:
            self._average.update(self.model)
        self.runtime.end_step()  # last: until then the step is half done
        return terms

    @contextmanager
    def _compiler_errors(self) -> Iterator[None]:
        if not self._is_compiled:
            yield
            return
        from torch._dynamo.exc import TorchDynamoException

        try:
            yield
        except TorchDynamoException as error:
            reason = first_line(getattr(error, "inner_exception", error))
            raise TrainingError(f"the networks cannot be compiled here ({reason}); set solver.compile=false") from error

    @property
    def learning_rates(self) -> dict[str, float]:
        """The last step's, by optimizer."""
        return {name: optimizer.param_groups[0]["lr"] for name, optimizer in self.recipe.optimizers.items()}

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside :attr:`result`; of all ranks."""
        average = self._average
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.recipe.optimizers.items()},
            "recipe": distributed.gather(self.recipe.resume_state()),
            "scaler": self.runtime.scaler.state_dict(),
            "random": distributed.gather(self.runtime.random_state()),
            "averaged": {"updates": average.updates, "weights": dict(self.model.state_dict())} if average else None,
        }

    def load_state_dict(self, state: Mapping[str, Any], weights: Mapping[str, Tensor], origin: str) -> int:
        """Takes over what :meth:`state_dict` gave, and the weights saved of :attr:`result`.

        Returns:
            On how many ranks the state was saved; random numbers go on only on as many.

        Raises:
            CheckpointError: Weights of another model.
            KeyError, TypeError, ValueError, RuntimeError: A state of another configuration.
        """
        self._load_weights(state["averaged"], weights, origin)
        world, rank, ranks = distributed.world_size(), distributed.rank(), len(state["random"])
        for name, optimizer in self.recipe.optimizers.items():
            _restore(optimizer, state["optimizers"][name])
        if state["scaler"]:  # the run may have gone on with another precision
            self.runtime.scaler.load_state_dict(state["scaler"])
        self.recipe.load_resume_state(state["recipe"][rank % ranks])
        if ranks == world:
            self.runtime.set_random_state(state["random"][rank])
        return ranks

    def _load_weights(self, averaged: Mapping[str, Any] | None, weights: Mapping[str, Tensor], origin: str) -> None:
        copy_whole(self.model, weights if averaged is None else averaged["weights"], origin)
        if self._average is None:
            return
        self._average.restart(self.model)
        if averaged is not None:
            copy_whole(self._average.model, weights, origin)
            self._average.updates = averaged["updates"]


def _restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Takes over what an optimizer has learned; its options, such as learning rates, stay the configuration's."""
    options = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options):
        for name in group.keys() - own.keys() - {"params"}:
            del group[name]
        group.update(own)
