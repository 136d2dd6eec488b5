# SPDX-License-Identifier: Apache-2.0
"""Named configurations of the editor."""

from __future__ import annotations

from dataclasses import replace

from ldie.systems.editing.config import (
    DecoderConfig,
    DiscriminatorConfig,
    EditorConfig,
    EditorModel,
    EditorSolver,
    ImageConfig,
    LanguageConfig,
    ReinforceSolver,
)
from ldie.tasks.editing.data_config import EditDataConfig

TINY = EditorConfig(
    model=EditorModel(
        language=LanguageConfig(embedding=64, hidden=128, layers=1, dropout=0.0),
        image=ImageConfig(size=32, widths=(16, 32, 64), blocks=0, code=64),
        decoder=DecoderConfig(embedding=32, max_steps=3),
    ),
    solver=EditorSolver(
        max_iter=1500, lr=2e-3, lr_schedule="cosine", warmup_iter=50, gradient_clip=1.0, parameter_weight=10.0
    ),
)
"""Minutes on two CPU cores: generated requests on previews of 32 pixels."""

OVERFIT = replace(
    TINY,
    solver=replace(TINY.solver, batch_size=8, max_iter=300),
    dataset=EditDataConfig(count=8, val="train", min_count=1),
)
"""Learns eight requests by heart, to see that nothing is in the way."""

TINY_GAN = replace(
    TINY,
    model=replace(TINY.model, discriminator=DiscriminatorConfig(scales=2, widths=(16, 32, 64), text=32, hidden=64)),
    solver=replace(TINY.solver, training="gan"),
)
"""The same against a discriminator."""

TINY_ADAPT_GAN = replace(TINY_GAN, solver=replace(TINY_GAN.solver, training="adapt_gan"))
"""The same, where plans are as real as targets."""

TINY_REINFORCE = replace(
    TINY,
    model=replace(TINY.model, decoder=replace(TINY.model.decoder, levels=20)),
    solver=replace(
        TINY.solver,
        max_iter=2000,
        training="reinforce",
        parameter_weight=1.0,
        reinforce=ReinforceSolver(warmup=120, lr=3e-4, baseline="constant", entropy=0.002, step_penalty=0.001),
    ),
)
"""Learns from rewards, after few known steps. Of a gradient's square a few hundredths are signal, so rates are low; the
running mean leaves half the noise of ``self_critical``, and needs no second episode."""

T2ONET = EditorConfig(
    dataset=EditDataConfig(root="FiveK"), solver=EditorSolver(training="l1", save_step=1000, num_workers=4)
)
"""The published size and schedule (arXiv:2106.13156), for MA5k-Req and a GPU."""

PRESETS = {
    "tiny": TINY,
    "tiny_gan": TINY_GAN,
    "tiny_adapt_gan": TINY_ADAPT_GAN,
    "tiny_reinforce": TINY_REINFORCE,
    "overfit": OVERFIT,
    "t2onet": T2ONET,
}
