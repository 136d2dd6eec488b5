# SPDX-License-Identifier: Apache-2.0
"""The one training loop: data, devices, precision, log, evaluation, checkpoints, exact resume."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ldie.config import RunConfig, to_dict, to_yaml
from ldie.contract import Dataset, Progress, System
from ldie.durations import in_steps
from ldie.engine import checkpoint, distributed, report, trackers
from ldie.engine.changes import check_changes, check_data
from ldie.engine.environment import origin, peak_memory, versions
from ldie.engine.evaluation import Evaluation, evaluate
from ldie.engine.interrupt import StopSignal
from ldie.engine.learner import Learner
from ldie.engine.loader import training_batches, worker_death
from ldie.engine.lock import RunLock
from ldie.engine.log import MEASURED, Meter, RunLog, logger, progress_bar
from ldie.engine.profile import StepProfile
from ldie.engine.runtime import TrainingRuntime
from ldie.errors import CheckpointError, ConfigError, UserError
from ldie.files import make_folder, remove_temporary, write_text

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclasses.dataclass
class RunState:
    """Where a run stands, apart from tensors."""

    step: int = 0
    trained_seconds: float = 0.0
    interval_seconds: float = 0.0
    """Time of the steps since the last log line."""
    interval_data_seconds: float = 0.0
    """How much of it went by waiting for data."""
    logged_step: int = 0
    """Of the last log line."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """Of the last evaluation."""
    evaluated_step: int = -1
    best: float = -float("inf")
    """Highest value of the recipe's best_metric."""
    stale: int = 0
    """Evaluations since then."""


class Trainer:
    """One run in one work folder.

    Weights, sample order and augmentation depend on ``config.seed`` alone; on the CPU a run that was stopped and
    resumed equals one that was not, bit for bit.

    Args:
        system: What is trained: task, model, recipe.
        config: Its configuration; ``output_dir`` is the work folder.
        train_set: Samples to train on.
        val_set: Samples to evaluate on.
        device: Where this process trains.
        resume: Go on from the newest checkpoint of the work folder.
        overwrite: Replace the run that is in the folder; nothing is deleted before everything else is in order.
        profile: Steps to profile (:class:`ldie.engine.profile.StepProfile`), on rank 0.

    Raises:
        ConfigError: Keys that do not fit together, or that a run cannot change when it goes on.
        CheckpointError: ``resume`` without a usable checkpoint, a run in the folder without ``resume`` or
            ``overwrite``, or another process that trains in the folder.
    """

    def __init__(
        self,
        system: System,
        config: RunConfig,
        train_set: Dataset,
        val_set: Dataset,
        device: torch.device,
        resume: bool = False,
        overwrite: bool = False,
        profile: int = 0,
    ) -> None:
        self.system, self.task = system, system.task
        if config.solver.patience and not config.solver.eval_step:
            raise ConfigError("solver.patience counts evaluations; set solver.eval_step, or leave it 0")
        trackers.chosen(config.log.to)  # one that is not there is said before anything else
        self.work_dir = Path(config.output_dir)
        self._origin = origin(self.work_dir)
        self.train_set, self.val_set = train_set, val_set
        self.runtime = TrainingRuntime(device, config.mixed_precision)
        self.step_samples = config.solver.batch_size * config.solver.accumulate * distributed.world_size()
        self.state = RunState()
        self._meter = Meter()
        self._profile = StepProfile(profile if distributed.rank() == 0 else 0, device)
        self._clock = time.monotonic()
        self._saved_step = -1
        epoch = Fraction(len(train_set), self.step_samples)
        self._given = in_steps(config, epoch)
        self.learner = Learner(system, self._given, self.task.facts(train_set), self.runtime)
        self.model, self.recipe = self.learner.model, self.learner.recipe
        self.config = self.model.config
        self.recipe.check_data(train_set)
        self._lock: RunLock | None = None
        try:
            self._start(resume, overwrite)
        except BaseException:
            self._release()
            raise

    def run(self) -> dict[str, float] | None:
        """Trains to ``solver.max_iter`` or the end of ``solver.patience``, evaluates, and writes metrics and pictures.

        Returns:
            The last metrics; None if a signal stopped the run (its checkpoint is written).
        """
        try:
            with (
                closing(self._batches()) as batches,
                closing(RunLog(self.work_dir, self.state.step, self.state.evaluated_step)) as log,
                StopSignal(self.runtime.device) as stop,
                progress_bar(self.config.solver.max_iter, self.state.step, self.system.name) as bar,
            ):
                logger.info("start: %s", ", ".join(f"{name} {value}" for name, value in self._origin.items()))
                log.start(self._origin, self.config)
                self._loop(batches, log, stop, bar)
            if self._is_over():
                self._profile.finish()
        except Exception as error:
            self._save_whole_steps()
            death = worker_death(error) if isinstance(error, RuntimeError) else None
            if death is None or isinstance(error, UserError):
                raise
            raise death from error
        finally:
            self._release()
        if not self._is_over():
            logger.info("stopped after step %d; the same command with --resume goes on from there", self.state.step)
            return None
        if distributed.rank() == 0:
            report.announce(self.work_dir)
        return self.state.metrics

    def _loop(self, batches: Iterator[Any], log: RunLog, stop: StopSignal, bar: tqdm) -> None:
        solver = self.config.solver
        self._clock = time.monotonic()
        if self._is_over() and self.state.evaluated_step == self.state.step:
            key = "solver.max_iter" if self.state.step >= solver.max_iter else "solver.patience"
            logger.info("the run is complete: %d of %d steps; raise %s to go on", self.state.step, solver.max_iter, key)
        while True:  # begins with what comes after a step: a kill may have cut it off
            if self._evaluation_is_due():
                self._save()  # whatever happens in the evaluation
                evaluation = self._evaluate(log)
                if self._is_over():
                    self._report(evaluation)
                self.recipe.train_mode()  # not before the report, which runs the model too
                self.recipe.on_evaluation(evaluation.metrics)
                self._save()
            elif self._due(solver.save_step) and self._saved_step != self.state.step:
                self._save()
            if self._is_over() or stop.wanted(self.state.step):
                break
            self._train_step(batches)
            bar.update()
            if self._due(solver.log_step):
                self._log(log)
        if self._saved_step != self.state.step:
            self._save()

    def _batches(self) -> Generator[Any, None, None]:
        device = self.runtime.device
        with closing(training_batches(self.train_set, self.recipe, self.config, self.state.step, device)) as batches:
            while True:
                began = time.monotonic()
                batch = next(batches)
                self.state.interval_data_seconds += time.monotonic() - began
                yield batch

    def _is_over(self) -> bool:
        solver = self.config.solver
        return self.state.step >= solver.max_iter or 0 < solver.patience <= self.state.stale

    def _evaluation_is_due(self) -> bool:
        due = self._is_over() or self._due(self.config.solver.eval_step)
        return due and self.state.evaluated_step != self.state.step

    def _report(self, evaluation: Evaluation) -> None:
        if distributed.rank() == 0:
            with self.learner.eager():
                report.write_evaluation(self.work_dir, self.task, self.val_set, evaluation, self.learner.result)
            report.write_curves(self.work_dir, self.task.headline)
            report.print_table(self.task, evaluation.metrics)
        distributed.barrier()  # the files are there for every rank

    def _save_whole_steps(self) -> None:
        """Saves what an error after a step would cost.

        An error inside a step, such as of memory, leaves the weights of the step before unless an optimizer has changed
        some; only random numbers and running statistics have seen its batch. Several ranks cannot agree any more.
        """
        if self.runtime.has_updated or distributed.is_active() or self.state.step in (0, self._saved_step):
            return
        try:
            self._save()
        except Exception as error:  # the one that brought us here is what the user must see
            logger.warning("step %d is not saved: %s", self.state.step, error)

    def _release(self) -> None:
        if self._lock:
            self._lock.release()

    def _start(self, resume: bool, overwrite: bool) -> None:
        writer = distributed.rank() == 0
        with distributed.first_rank_first():
            if writer:
                make_folder(self.work_dir)
                self._lock = RunLock(self.work_dir)
        if resume:
            path = checkpoint.newest(self.work_dir)
            self._load(path)
            if writer:
                checkpoint.set_aside(self.work_dir, newer_than=path)
            logger.info("resumed from %s", path)
        elif checkpoint.resumable(self.work_dir) and not overwrite:
            raise CheckpointError(
                f"{self.work_dir} holds a run already; add --resume to go on with it or --overwrite to replace it, "
                "or choose another --work-dir"
            )
        else:
            self.learner.start()
        self.learner.agree()  # no rank looks at the folder after this
        if writer:
            if overwrite:
                checkpoint.clear(self.work_dir, self.task.files)
            make_folder(self.work_dir / checkpoint.FOLDER)  # what cannot be is said before the first step
            checkpoint.prune(self.work_dir, self.config.solver.keep_checkpoints)
            remove_temporary(self.work_dir)
            notes = "".join(f"# {key}: {value}\n" for key, value in {**self._origin, **versions()}.items())
            text = f"# system: {self.system.name}\n{notes}{to_yaml(self.config)}"
            write_text(self.work_dir / "config.yaml", text)

    def _train_step(self, batches: Iterator[Any]) -> None:
        terms = self._profile.run(lambda: self.learner.step(batches, self.state.step))
        self.state.step += 1
        for part in terms:
            self._meter.add(self.state.step, part)

    def _due(self, interval: int) -> bool:
        return interval > 0 and self.state.step > 0 and self.state.step % interval == 0

    def _log(self, log: RunLog) -> None:
        means = self._meter.pop_means()
        self._tick()
        progress = self._progress()
        self.state.interval_seconds = self.state.interval_data_seconds = 0.0
        self.state.logged_step = self.state.step
        logger.info("%s", self.recipe.log_line(progress, means))
        means |= {f"lr/{name}": rate for name, rate in progress.lr.items()}
        measured = {name: round(getattr(progress, name), 3) for name in MEASURED}
        log.write("train", self.state.step, means, epoch=round(progress.epoch, 4), **measured)

    def _progress(self) -> Progress:
        state = self.state
        return Progress(
            step=state.step,
            max_step=self.config.solver.max_iter,
            seconds=state.interval_seconds,
            trained_seconds=state.trained_seconds,
            lr=self.learner.learning_rates,
            epoch=state.step * self.step_samples / len(self.train_set),
            samples=(state.step - state.logged_step) * self.step_samples,
            data_seconds=state.interval_data_seconds,
            memory=peak_memory(self.runtime.device),
        )

    def _tick(self) -> None:
        """Adds the time since the last tick to the time spent on training."""
        now = time.monotonic()
        self.state.interval_seconds += now - self._clock
        self.state.trained_seconds += now - self._clock
        self._clock = now

    def _evaluate(self, log: RunLog) -> Evaluation:
        """Metrics of the present weights."""
        self._tick()
        self.learner.agree()
        solver = self.config.solver
        with self.learner.eager():
            evaluation = evaluate(self.learner.result, self.task, self.val_set, solver.batch_size, solver.num_workers)
        self.state.metrics = evaluation.metrics
        logger.info("step %d: %s", self.state.step, report.summary(self.task.headline(evaluation.metrics)))
        log.write("eval", self.state.step, evaluation.metrics)
        self.state.evaluated_step = self.state.step
        self._judge(evaluation.metrics)
        self._clock = time.monotonic()
        return evaluation

    def _judge(self, metrics: Mapping[str, float]) -> None:
        """Keeps weights that are better than any before, and counts how long there have been none."""
        value = metrics.get(self.recipe.best_metric)
        if value is None:
            logger.warning("there is no metric %s, so no checkpoint is kept as the best", self.recipe.best_metric)
            return
        self.state.stale += 1
        if value > self.state.best:
            self.state.best, self.state.stale = value, 0
            if distributed.rank() == 0:
                path = self.work_dir / checkpoint.FOLDER / checkpoint.BEST
                checkpoint.save_weights(path, self.learner.result.state_dict(), self._header())

    def _save(self) -> None:
        self._tick()
        self.learner.agree()
        state = {
            "run": dataclasses.asdict(self.state),
            "samples": len(self.train_set),
            "meter": self._meter.state_dict(),
            **self.learner.state_dict(),
        }
        if distributed.rank() == 0:
            path = checkpoint.weights_path(self.work_dir, self.state.step)
            checkpoint.save_resume(checkpoint.resume_path(path), state)
            checkpoint.save_weights(path, self.learner.result.state_dict(), self._header())
            checkpoint.prune(self.work_dir, self.config.solver.keep_checkpoints)
            logger.info("=====> Save Checkpoint to %s", path)
        self._saved_step = self.state.step
        self._clock = time.monotonic()

    def _load(self, path: Path) -> None:
        header, weights = checkpoint.load_weights(path)
        state = checkpoint.load_resume(checkpoint.resume_path(path))
        check_changes(header, self._given, self.config, self.recipe.fixed_on_resume)
        world = distributed.world_size()
        try:
            root, samples = self.config.dataset.root, len(self.train_set)
            check_data(header, self.model.facts, state["samples"], samples, root)
            self.state = RunState(**state["run"])
            self._meter.load_state_dict(state["meter"])
            ranks = self.learner.load_state_dict(state, weights, str(path))
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{checkpoint.resume_path(path)} does not fit this configuration; resume with the one it was made with"
            ) from error
        self._saved_step = self.state.step
        if ranks != world:
            logger.warning("resuming on %d processes instead of %d: not bit for bit", world, ranks)

    def _header(self) -> checkpoint.Header:
        return checkpoint.Header(
            system=self.system.name,
            config=to_dict(self.config),
            facts=dict(self.model.facts),
            step=self.state.step,
            metrics=self.state.metrics,
            versions=versions(),
        )
