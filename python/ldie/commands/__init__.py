# SPDX-License-Identifier: Apache-2.0
"""What the subcommands of ``ldie`` do, given their parsed options."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ldie.commands.apply import apply
from ldie.commands.benchmark import benchmark
from ldie.commands.convert import convert
from ldie.commands.edit import edit
from ldie.commands.evaluate import evaluate
from ldie.commands.export import export
from ldie.commands.import_weights import import_weights
from ldie.commands.index import index
from ldie.commands.info import info
from ldie.commands.plan import plan
from ldie.commands.plans import plans
from ldie.commands.predict import predict
from ldie.commands.recipe import recipe
from ldie.commands.show import show
from ldie.commands.split import split
from ldie.commands.synth import synth
from ldie.commands.train import train

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "show": show,
    "convert": convert,
    "import": import_weights,
    "benchmark": benchmark,
    "export": export,
    "apply": apply,
    "edit": edit,
    "recipe": recipe,
    "plan": plan,
    "plans": plans,
    "synth": synth,
    "split": split,
    "index": index,
    "info": info,
}
