# SPDX-License-Identifier: Apache-2.0
"""Named configurations of the discriminator."""

from __future__ import annotations

from ldie.systems.edit_discriminator.config import (
    DiscriminatorConfig,
    DiscriminatorModel,
    DiscriminatorSolver,
    PairConfig,
)
from ldie.tasks.editing.data_config import JudgedDataConfig
from ldie.tasks.editing.reading import LanguageConfig

TINY = DiscriminatorConfig(
    model=DiscriminatorModel(
        language=LanguageConfig(embedding=64, hidden=64, layers=1, dropout=0.1),
        pair=PairConfig(size=32, widths=(48, 64, 96), code=128),
    ),
    solver=DiscriminatorSolver(max_iter=1500, lr=2e-3, lr_schedule="cosine", warmup_iter=50),
)
"""Minutes on one CPU core: generated requests on previews of 32 pixels."""

FIVEK = DiscriminatorConfig(
    dataset=JudgedDataConfig(root="FiveK"), solver=DiscriminatorSolver(save_step=1000, num_workers=4)
)
"""For MA5k-Req and a GPU."""

PRESETS = {"tiny": TINY, "fivek": FIVEK}
