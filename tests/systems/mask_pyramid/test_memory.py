# SPDX-License-Identifier: Apache-2.0
"""What many hypotheses on one level hold in memory, and how many kernels a pyramid's growth launches."""

from __future__ import annotations

from pathlib import Path

import pytest
from ldie.config import merge
from ldie.systems.mask_pyramid import MaskPyramidConfig

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SIZE, CHANNEL, STATE = (25, 42), 64, 16
"""A quarter of the channels that the defaults have."""


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_hypothesis_of_the_first_generation_holds_some_maps() -> None:
    """More hypotheses cost a few maps of h x w each, forward and in training, whatever the number of channels."""
    from systems.mask_pyramid_memory import forms, forward_peak, training_peak

    cells = SIZE[0] * SIZE[1] * 4
    for channel in (CHANNEL // 2, CHANNEL):
        few, many = (forms(1, count, SIZE, channel) for count in (20, 80))
        forward = forward_peak(many["ours"]) - forward_peak(few["ours"])
        training = training_peak(many["ours"], many["leaves"]) - training_peak(few["ours"], few["leaves"])
        assert 60 * cells <= forward <= 6 * 60 * cells, forward / cells
        assert 60 * cells <= training <= 8 * 60 * cells, training / cells


@pytest.mark.parametrize("generation", [1, 2])
def test_split_forms_hold_less_than_half_of_concatenated_ones(generation: int) -> None:
    """And compute the same, gradients too."""
    from systems.mask_pyramid_memory import agree, forms, forward_peak, training_peak

    made = forms(generation, 80, SIZE, CHANNEL, STATE)
    assert agree(made["ours"], made["concatenated"]) < 1e-5
    ours, theirs = (
        (forward_peak(made[form]), training_peak(made[form], made["leaves"])) for form in ("ours", "concatenated")
    )
    part = 0.5 if generation == 2 else 0.2
    assert all(own <= part * whole for own, whole in zip(ours, theirs)), (ours, theirs)
    gradients = []
    for form in ("ours", "concatenated"):
        training_peak(made[form], made["leaves"])
        gradients.append([leaf.grad.clone() for leaf in made["leaves"] if leaf.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 3
    for own, other in zip(*gradients):
        assert (own - other).abs().max() <= 1e-4 * other.abs().max()


@pytest.mark.parametrize("generation", [1, 2])
def test_a_growth_launches_less_than_a_hundred_kernels(generation: int) -> None:
    """Of one image, on all levels; no more for a batch."""
    from systems.mask_pyramid_memory import launches

    config = merge(MaskPyramidConfig(), {"model": {"mask": {"generation": generation}}})
    counts = launches(config)
    assert counts["ldie_ext::pyramid_cull"] == len(config.model.strides)
    assert 50 < counts.total() < 100, counts
    assert counts == launches(config, batch=3)
