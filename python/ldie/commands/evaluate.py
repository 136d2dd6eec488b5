# SPDX-License-Identifier: Apache-2.0
"""``ldie eval``."""

from __future__ import annotations

import argparse
import dataclasses

from ldie.commands.common import chosen_device, open_data, run_folder, with_data
from ldie.engine import checkpoint, distributed, evaluation, report
from ldie.engine.log import configure_console, logger
from ldie.files import make_folder
from ldie.inference import load_checkpoint


def evaluate(options: argparse.Namespace) -> int:
    """Computes a checkpoint's metrics, and reports on them."""
    device = chosen_device(options.device)
    with distributed.process_group(device):
        configure_console(options.debug)
        path = checkpoint.find_weights(options.checkpoint)
        predictor = load_checkpoint(path, device)
        task, model = predictor.system.task, predictor.model
        out = options.out or run_folder(path) / "eval"
        make_folder(out)
        config = dataclasses.replace(
            with_data(model.config, options.data, options.split), output_dir=str(run_folder(path))
        )
        (val_set,) = open_data(task, config, [config.dataset.val])
        task.check(val_set, model.facts, str(path))
        found = evaluation.evaluate(model, task, val_set, options.batch_size, detailed=options.per_class)
        if distributed.rank() == 0:
            report.write_evaluation(out, task, val_set, found, model)
        logger.info("%s (step %d): %s", path, predictor.step, report.summary(task.headline(found.metrics)))
        report.print_table(task, found.metrics)
        if distributed.rank() == 0:
            report.announce(out)
    return 0
