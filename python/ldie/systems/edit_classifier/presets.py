# SPDX-License-Identifier: Apache-2.0
"""Named configurations of the classifier of requests."""

from __future__ import annotations

from dataclasses import replace

from ldie.systems.edit_classifier.config import ClassifierConfig, ClassifierModel, ClassifierSolver
from ldie.tasks.editing.data_config import EditDataConfig
from ldie.tasks.editing.reading import ImageConfig, LanguageConfig

TINY = ClassifierConfig(
    model=ClassifierModel(
        language=LanguageConfig(embedding=64, hidden=64, layers=1),
        image=ImageConfig(size=32, widths=(16, 32, 64), blocks=0, code=64),
        hidden=64,
    ),
    solver=ClassifierSolver(max_iter=400, lr=2e-3, lr_schedule="cosine", warmup_iter=20),
)
"""A minute on one CPU core: generated requests on previews of 32 pixels."""

TINY_NO_IMAGE = replace(TINY, model=replace(TINY.model, image=replace(TINY.model.image, enabled=False)))
"""The same without the picture, to see what is due to it."""

GIER = ClassifierConfig(dataset=EditDataConfig(root="GIER"), solver=ClassifierSolver(save_step=1000, num_workers=4))
"""The published networks' size, for GIER and a GPU."""

PRESETS = {"tiny": TINY, "tiny_no_image": TINY_NO_IMAGE, "gier": GIER}
