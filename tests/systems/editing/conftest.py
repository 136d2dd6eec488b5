# SPDX-License-Identifier: Apache-2.0
"""A run of the editor that knows a dozen requests, trained in a second."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ldie.config import to_dict
from ldie.engine import checkpoint
from ldie.engine.runtime import TrainingRuntime
from ldie.schedule import set_learning_rates
from ldie.systems.editing import Editor, EditorRecipe
from ldie.tasks.editing.sample import EditSample, EditSequence
from systems.editing.helpers import SIZE, steps, tiny_config

from ldie_ext import EditOp

WORDS = (
    "make it brighter darker vivid pale much and the disc fix nothing keep please remove left of on red brighten "
    "warmer bit more contrast brightness"
)
OPERATORS = (EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.WHITE_BALANCE)
KNOWN = {"operators": [op.name for op in OPERATORS], "vocabulary": sorted(WORDS.split())}
MAX_WORDS = 8
_LIGHT, _COLOR = EditOp.BRIGHTNESS, EditOp.SATURATION
_ADJECTIVES = {
    "brighter": (_LIGHT, 0.3), "darker": (_LIGHT, -0.3), "vivid": (_COLOR, 0.5), "pale": (_COLOR, -0.5),
}  # fmt: skip


def _requests() -> dict[str, EditSequence]:
    """What is learned by heart."""
    known = {
        "nothing": steps(),
        "nothing please": steps(),
        "make it warmer and a bit brighter": steps((EditOp.WHITE_BALANCE, 1.1), (_LIGHT, 0.3)),
        "more contrast": steps((EditOp.CONTRAST, 0.5)),
    }
    for word, step in _ADJECTIVES.items():
        opening = "brighten {}" if word == "brighter" else f"make {{}} {word}"
        texts = [word, f"{word} please", opening.format("it"), opening.format("the red disc"), f"make it {word}"]
        known |= {text: steps(step) for text in texts}
        for other, second in _ADJECTIVES.items():
            if second[0] != step[0]:
                known |= {
                    f"make it {word} and {other}": steps(step, second),
                    f"{word} and {other}": steps(step, second),
                }
    return known


def _samples() -> list[EditSample]:
    """Dark and light pictures; how one is fixed depends on which it is."""
    noise = torch.randint(-40, 41, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    wanted = {text: {60: sequence, 200: sequence} for text, sequence in _requests().items()}
    for text in ("fix it", "fix the brightness"):
        wanted[text] = {60: steps((_LIGHT, 0.4)), 200: steps((_LIGHT, -0.4))}
    samples = []
    for text, answers in wanted.items():
        for level, sequence in answers.items():
            picture = (level + noise).to(torch.uint8)
            samples.append(EditSample(f"{len(samples)}", picture, text, picture, None, sequence))
    return samples


@pytest.fixture(scope="session")
def editor_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a checkpoint."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = tiny_config(
        model={"language": {"embedding": 16, "hidden": 24, "max_words": MAX_WORDS}, "image": {"code": 16}},
        solver={"lr": 0.02, "max_iter": 140, "warmup_iter": 10},
    )
    model = Editor.from_config(config, KNOWN)
    recipe = EditorRecipe(model, config, TrainingRuntime(torch.device("cpu")))
    items = [recipe.transform(sample, None) for sample in _samples()]
    recipe.train_mode()
    for step in range(config.solver.max_iter):
        for name, optimizer in recipe.optimizers.items():
            set_learning_rates(optimizer, recipe.lr_factor(name, step))
        recipe.train_step(recipe.collate(items), step)
    torch.set_num_threads(threads)
    folder = tmp_path_factory.mktemp("place") / "runs" / "editing"
    header = checkpoint.Header("editing", to_dict(config), dict(KNOWN), step=config.solver.max_iter)
    checkpoint.save_weights(folder / checkpoint.FOLDER / checkpoint.BEST, model.state_dict(), header)
    return folder
