# SPDX-License-Identifier: Apache-2.0
"""``ldie predict``."""

from __future__ import annotations

import argparse

from ldie.commands.common import chosen_device
from ldie.engine import checkpoint
from ldie.engine.log import configure_console
from ldie.inference import load_checkpoint


def predict(options: argparse.Namespace) -> int:
    """Runs a checkpoint on files and writes what it found."""
    configure_console(options.debug)
    predictor = load_checkpoint(checkpoint.find_weights(options.checkpoint), chosen_device(options.device))
    predictor.system.task.predict(
        predictor.model, options.images, options.out, batch_size=options.batch_size, min_score=options.min_score
    )
    return 0
