# SPDX-License-Identifier: Apache-2.0
"""Who is born, lives, dies and learns what: the batched growth beside loops over everything."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch
from ldie.systems.mask_pyramid import MaskPyramidConfig
from ldie.systems.mask_pyramid.growth import Growth, Level
from ldie.systems.mask_pyramid.hypotheses import Hypotheses, Masks, Seeds, at_places
from ldie.systems.mask_pyramid.truth import Truth
from systems.mask_pyramid import plain
from systems.mask_pyramid.helpers import SMALL, batch_of, seeds_of, small_config, small_model, small_recipe
from systems.rcnn.helpers import no_objects, two_images

import ldie_ext

SIZES = [(2, 3), (4, 6), (7, 11)]
"""Of levels of stride 16, 8 and 4, in a batch of 28 x 44."""


def growth_by_lot(config: MaskPyramidConfig, masks: plain.RandomMasks) -> Growth:
    """Whose networks are a table."""
    growth = Growth(config).double()
    del growth._modules["masks"], growth._modules["guides"], growth._modules["calls"]
    growth.__dict__["masks"] = lambda level, seeds, before, index: (masks.of(seeds, index), None)
    guided = masks.guides if config.model.growth.guide else []
    growth.__dict__["guides"] = [lambda _, own=own: own for own in guided]
    calling = masks.calls if config.model.growth.births == "learnt" else []
    growth.__dict__["calls"] = [lambda _, own=own: own for own in calling]
    return growth


def truth_by_lot(batch: int, most: int) -> Truth:
    """Objects that overlap, on the levels unlike, of a few areas; also of no cell."""
    counts = torch.randint(0, most + 1, (batch,))
    total = int(counts.sum())
    covered = [torch.rand(total, *size) < 0.35 for size in SIZES]
    rows = torch.arange(int(counts.max())).expand(batch, -1)
    starts = counts.cumsum(0) - counts
    objects = (starts[:, None] + rows).where(rows < counts[:, None], -1)
    areas = torch.randint(1, 9, (total,)) * 10
    fractions = [level * (0.5 + 0.5 * torch.rand(level.shape)) for level in covered]
    return Truth(objects, torch.zeros(total).long(), areas, areas.float().sqrt(), covered, fractions)


def configuration(case: int) -> MaskPyramidConfig:
    """Settings of a case."""
    growth = {
        "coverage": ("max", "softmax")[case % 2],
        "topk_keep": (1, 2, 3)[case % 3],
        "keep_floor": (0.0, 0.3)[case // 2 % 2],
        "low_thresh": (0.2, 0.6, 1.0)[case // 3 % 3],
        "min_spawn": (0, 3)[case // 4 % 2],
        "max_alive": ((6, 5, 4), (6, 3, 8), (20,))[case // 5 % 3],
        "newborns": ((4, 3), (2,), (9,), (0, 3))[case // 7 % 4],
        "guide": case % 5 == 0,
        "births": ("unclaimed", "learnt")[case % 7 == 2],
    }
    assign = {"teach": case % 3 == 0}
    if case % 4 == 1:
        assign["size_ranges"] = [[0, 5.5], [4, 8], [6, 99]]
    return small_config(model={"growth": growth}, solver={"assign": assign})


def cells_of(level: Level, image: int) -> list[plain.Cell]:
    """Where those that are alive were born."""
    seeds = level.hypotheses.seeds
    alive = seeds.alive[image]
    found = []
    for x, y, radius in seeds.births[image, alive].tolist():
        stride = radius / SMALL.model.mask.gauss_radius
        assert x % stride == y % stride == stride / 2
        found.append((SMALL.model.strides.index(int(stride)), int(y // stride), int(x // stride)))
    return found


def test_mp_8_growth_is_that_of_the_seven_steps() -> None:
    """The same births, culls and targets, on all levels, of images of several sizes at once."""
    born, learns, died = [0] * 3, [0] * 3, [0] * 3
    for case in range(30):
        torch.manual_seed(case)
        config, batch = configuration(case), 3
        masks = plain.RandomMasks(config, SIZES, batch)
        truth = truth_by_lot(batch, case % 5)
        sizes = torch.tensor([[28, 44], [17, 44], [28, 30]])
        features = [torch.zeros(batch, 16, *size, dtype=torch.float64) for size in SIZES]
        levels = growth_by_lot(config, masks)(features, sizes, truth)
        for image in range(batch):
            steps = plain.grow(image, masks, tuple(sizes[image].tolist()), truth, config)
            before = 0
            for index, (level, step) in enumerate(zip(levels, steps, strict=True)):
                assert cells_of(level, image) == [each.born for each in step.alive], case
                assert level.born[image] == step.born, case
                alive = level.hypotheses.seeds.alive[image]
                objects = level.hypotheses.seeds.objects
                assert objects is not None
                assert objects[image, alive].tolist() == [each.target for each in step.alive], case
                assert alive.sum() <= config.max_alive(index), case
                for own, each in zip(level.hypotheses.masks.logits[image, alive], step.alive):
                    assert torch.equal(own, each.logits), case
                born[index] += step.born
                learns[index] += sum(each.target >= 0 for each in step.alive)
                died[index] += before + step.born - len(step.alive)
                before = len(step.alive)
    assert min(born) > 100 and min(learns) > 50 and min(died) > 50


def test_mp_6_hypotheses_compete_for_cells_by_softmax() -> None:
    """Of two that are equally sure of a cell, each has half of it; by ``max``, one is sure is enough."""
    logits = torch.tensor([[6.0, -6], [6, -6]]).reshape(1, 2, 1, 2)  # both want the first cell, none the second
    own = Hypotheses(seeds_of([[1, 1]]), Masks(logits, None))
    claims = {}
    for coverage in ("softmax", "max"):
        growth = Growth(small_config(model={"growth": {"coverage": coverage}}))
        claims[coverage] = growth._coverage(2, own, torch.tensor([[4, 8]])).coverage[0, 0].tolist()
    assert claims["softmax"] == pytest.approx([0.4994, 0.0025], abs=1e-4)
    assert claims["max"] == pytest.approx([0.9975, 0.0025], abs=1e-4)


def test_mp_6_the_share_of_one_falls_as_another_rises() -> None:
    """Which the probability of a mask alone does not."""
    for coverage, survivor in (("softmax", False), ("max", True)):
        growth = Growth(small_config(model={"growth": {"coverage": coverage, "keep_floor": 0.2, "topk_keep": 8}}))
        for rival in (0.0, 5.0):
            logits = torch.tensor([2.0, 2.0 + rival]).reshape(1, 2, 1, 1)
            own = Hypotheses(seeds_of([[1, 1]]), Masks(logits, None))
            present = growth._coverage(2, own, torch.tensor([[4, 4]])).present[0].tolist()
            assert present == [survivor or not rival, True]


def test_mp_2_grows_coarse_to_fine_and_says_how_many_live() -> None:
    """Each level has maps twice as fine, and the log how many of its hypotheses are alive."""
    recipe = small_recipe()
    batch = batch_of(*two_images(), no_objects())
    seen: list[list[Level]] = []
    forward = Growth.forward

    def watched(growth: Growth, *args: Any) -> list[Level]:
        seen.append(forward(growth, *args))
        return seen[-1]

    with patch.object(Growth, "forward", watched):
        terms = recipe.train_step(batch, 0)
    (levels,) = seen
    assert [tuple(level.hypotheses.masks.logits.shape[2:]) for level in levels] == [(4, 4), (8, 8), (16, 16)]
    assert levels[0].born.tolist() == [16, 16, 16], "every cell of the first level starts a hypothesis"
    for index, level in enumerate(levels):
        count = level.hypotheses.seeds.alive.sum().item() / 3
        assert terms[f"pyr_num_l{index}"].item() == pytest.approx(count)
    assert terms["InstPyr_inst_count"].item() == pytest.approx(4 / 3)


@pytest.mark.parametrize("generation", [1, 2])
def test_mp_14_where_there_are_too_many_the_best_at_home_are_kept(generation: int) -> None:
    """Before gradients are taken: those that go have none, and no level has more slots than the next needs."""
    caps = (5, 4, 3)
    model = small_model(
        model={
            "mask": {"generation": generation},
            "growth": {"max_alive": caps, "newborns": [2, 2], "topk_keep": 8, "min_spawn": 2, "keep_floor": 0.0},
        }
    )
    features = [torch.randn(2, 16, side, side) for side in (4, 8, 16)]
    computed: list[int] = []
    forward = type(model.growth.masks).forward

    def counted(masks: Any, level: Any, seeds: Seeds, *args: Any) -> Any:
        computed.append(seeds.alive.shape[1])
        return forward(masks, level, seeds, *args)

    with patch.object(type(model.growth.masks), "forward", counted):
        levels = model.growth(features, torch.tensor([[64, 64], [64, 64]]))
    assert computed == [5, 5 + 2, 4 + 2], "what the level before kept, and newborns"
    for cap, level in zip(caps, levels):
        assert level.hypotheses.seeds.alive.shape == (2, cap) and level.hypotheses.masks.logits.shape[1] == cap


def test_mp_14_those_that_are_weak_at_home_go_first() -> None:
    """And take no gradient."""
    growth = Growth(small_config(model={"growth": {"topk_keep": 8}}))
    places = (torch.tensor([[0, 0], [1, 0], [2, 0], [3, 0], [0, 1]])[None] + 0.5) * 16
    logits = torch.full((1, 5, 4, 4), -3.0)
    for slot, (home, elsewhere) in enumerate([(1.0, 9.0), (5.0, 0.0), (-2.0, 9.0), (4.0, 0.0), (3.0, 0.0)]):
        logits[0, slot, 3, 3] = elsewhere
        x, y = (places[0, slot] / 16).long().tolist()
        logits[0, slot, y, x] = home
    logits.requires_grad_()
    own = Hypotheses(seeds_of([[1] * 5], places=places), Masks(logits, None))
    _, present, responses = growth._coverage(0, own, torch.tensor([[64, 64]]))
    kept = own.take(torch.arange(1)[:, None], ldie_ext.pyramid_cull(present, responses, 3).slots)
    assert kept.seeds.places.tolist() == [places[0, [1, 3, 4]].tolist()], "in their order"
    assert at_places(kept.masks.logits, kept.seeds.places, 16).tolist() == [[5.0, 4.0, 3.0]]
    kept.masks.logits.sum().backward()
    assert logits.grad is not None and logits.grad.sum((2, 3)).tolist() == [[0, 16, 0, 16, 16]]


def test_masks_of_slots_that_are_not_in_use_change_nothing() -> None:
    """An image in a batch grows as it does alone, whatever the others have."""
    model = small_model(model={"growth": {"min_spawn": 2}})
    features = [torch.randn(3, 16, side, side) for side in (4, 8, 16)]
    sizes = torch.tensor([[64, 64], [20, 64], [64, 33]])
    together = model.growth(features, sizes)
    for image in range(3):
        alone = model.growth([each[image : image + 1] for each in features], sizes[image : image + 1])
        for ours, other in zip(together, alone):
            assert cells_of(ours, image) == cells_of(other, 0)
            one, two = (
                each.hypotheses.masks.logits[row, each.hypotheses.seeds.alive[row]]
                for each, row in ((ours, image), (other, 0))
            )
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guide", [False, True])
def test_mp_2_with_more_cells_than_hypotheses_these_do_not_all_start_in_one_corner(guide: bool) -> None:
    """They lie evenly, or where the guide sees objects; none beside the image."""
    config = small_config(model={"growth": {"max_alive": [16], "newborns": [4], "guide": guide, "topk_keep": 8}})
    growth = Growth(config)
    features = torch.randn(1, 16, 5, 8)
    (level,) = growth([features], torch.tensor([[64, 128]]))
    assert level.born.tolist() == [16]
    born = {(y, x) for _, y, x in cells_of(level, 0)}
    assert max(y for y, _ in born) == 3
    if guide:
        assert level.guide is not None
        best = level.guide[0].amax(0)[:4].flatten().topk(16).indices.tolist()
        assert born == {divmod(cell, 8) for cell in best}
    else:
        quarters = [sum((y < 2) == top and (x < 4) == left for y, x in born) for top in (0, 1) for left in (0, 1)]
        assert min(quarters) >= 3


@pytest.mark.parametrize(("size", "room"), [((20, 89), 80), ((7, 34), 20), ((150, 250), 40)])
def test_those_lie_evenly_whatever_the_size_of_the_map(size: tuple[int, int], room: int) -> None:
    """No cell is far from all of them, also where the width is a Fibonacci number and where there are many cells."""
    growth = growth_by_lot(small_config(model={"growth": {"max_alive": [room]}}), Mock())
    seeds, born = growth._first(torch.zeros(1, 1, *size), None, torch.tensor([[16 * side for side in size]]), None)
    assert born.tolist() == [room]
    cells = torch.cartesian_prod(*(torch.arange(0.5, side) for side in size))
    far = torch.cdist(cells, seeds.places[0].flip(1) / 16).amin(1).amax()
    assert far < 1.7 * (size[0] * size[1] / room) ** 0.5


def test_nobody_is_born_beside_an_image() -> None:
    """Also where births are learnt, and the maps call for them in what the batch was filled up with."""
    growth = Growth(small_config(model={"growth": {"births": "learnt", "topk_keep": 8}}))
    with torch.no_grad():
        for conv in growth.calls:
            conv.get_parameter("bias").fill_(9.0)
        levels = growth([torch.randn(2, 16, side, side) for side in (4, 8, 16)], torch.tensor([[64, 64], [10, 16]]))
    assert all(level.born[1] > 0 for level in levels)
    seeds = levels[-1].hypotheses.seeds
    assert (seeds.places[1, seeds.alive[1]] < 16).all(), "middles of cells that have some of the image"
