# SPDX-License-Identifier: Apache-2.0
"""SynEdit's pictures and edits: what they must have, and that every byte follows from the seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from ldie.errors import ConfigError
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.scene import box_of, position_of
from ldie.tasks.editing.synedit.synedit_pairs import CURVES, MAGNITUDES, OPERATORS, syn_edit, syn_pair
from ldie.tasks.editing.synedit.synedit_scene import LEAST_VISIBLE, RADII, synedit_scene
from tasks.editing.pairs import digest, same
from torch import Tensor

import ldie_ext
from ldie_ext import EditOp, _library
from ldie_ext.ops.editing.edit_op import EDIT_OPERATORS


@pytest.mark.parametrize("size", [32, 50, 128])
def test_objects_are_what_their_masks_show(size: int) -> None:
    names: Counter[str] = Counter()
    for seed in range(40):
        scene = synedit_scene(Draws(seed), size)
        assert scene.image.shape == (size, size, 3) and scene.image.dtype == torch.uint8
        assert 3 <= len(scene.objects) == len(scene.masks) <= 7
        assert int(scene.masks.sum(0).max()) == 1, "visible pixels overlap"
        assert len({(item.name, item.colour) for item in scene.objects}) == len(scene.objects)
        for item, mask in zip(scene.objects, scene.masks, strict=True):
            names[item.name] += 1
            assert item.box == box_of(mask) and item.position == position_of(item.box, size, size)
            least = 2 * size * RADII[item.size][0] - 1  # a circle's pixels, times what may be hidden and squeezed off
            assert int(mask.sum()) >= 0.7 * LEAST_VISIBLE * least * least
    assert set(names) == {"disc", "rectangle"} and min(names.values()) > 40


def test_positions_in_words() -> None:
    assert position_of((0, 0, 10, 10), 90, 90) == "top left"
    assert position_of((40, 40, 50, 50), 90, 90) == "centre"
    assert position_of((70, 40, 90, 50), 90, 90) == "right"
    assert position_of((40, 80, 50, 90), 90, 90) == "bottom"


def test_nothing_is_flat() -> None:
    """Of neighbouring pixels few are alike, on objects as on the background: a curve cannot follow the rounding."""
    for seed in range(10):
        scene = synedit_scene(Draws(seed), 64)
        alike = (scene.image[:, 1:] == scene.image[:, :-1]).all(-1)
        for mask in (*scene.masks, ~scene.masks.any(0)):
            inside = mask[:, 1:] & mask[:, :-1]
            assert float(alike[inside].float().mean()) < 0.1


def test_pictures_have_room_for_edits() -> None:
    """Not much is clipped, colours differ, and the exposures spread over their range."""
    means = []
    for seed in range(60):
        image = synedit_scene(Draws(seed), 32).image.double() / 255
        means.append(float(image.amax(-1).mean()))
        assert float((image >= 1).double().mean()) < 0.1
        assert float((image.amax(-1) - image.amin(-1)).mean()) > 0.05
    assert min(means) < 0.42 and max(means) > 0.6


def test_edits_are_drawn_as_told() -> None:
    steps: Counter[int] = Counter()
    values: dict[EditOp, set[float]] = {op: set() for op in OPERATORS}
    local = exclusive = 0
    for seed in range(300):
        pair = syn_pair(seed, 32, local=0.2)
        steps[len(pair.ops)] += 1
        assert len(set(pair.ops.tolist())) == len(pair.ops)
        local += int((pair.mask_index >= 0).sum())
        exclusive += int(pair.exclusive.sum())
        assert bool((pair.mask_index[pair.exclusive] >= 0).all()) and int(pair.mask_index.max()) < len(pair.masks)
        for op, row in zip(pair.ops.tolist(), pair.params, strict=True):
            count = EDIT_OPERATORS[op].parameters
            assert bool((row[count:] == 0).all())
            values[EditOp(op)].update(row[:count].tolist())
    assert set(steps) == {1, 2, 3} and min(steps.values()) > 70
    for op in OPERATORS:
        if op in CURVES:
            assert 0.606 < min(values[op]) < 0.62 and 1.62 < max(values[op]) < 1.649
        else:
            assert sorted(values[op]) == pytest.approx(MAGNITUDES[op])
    total = sum(count * number for count, number in steps.items())
    assert 0.15 < local / total < 0.25 and 0.3 < exclusive / local < 0.7


def test_the_target_is_the_edited_source() -> None:
    pair = syn_pair(5, 64, [EditOp.BRIGHTNESS, EditOp.COLOR_CURVE], 2, local=1.0)
    again = ldie_ext.apply_edits(
        pair.source[None], pair.ops[None], pair.params[None], pair.masks, pair.mask_index[None], pair.exclusive[None],
        layout="hwc",
    )  # fmt: skip
    assert torch.equal(again[0], pair.target) and not torch.equal(pair.source, pair.target)
    assert np.array_equal(pair.recipe.apply(pair.source.numpy()), pair.target.numpy())
    untouched = torch.ones(64, 64, dtype=torch.bool)
    for index, outside in zip(pair.mask_index.tolist(), pair.exclusive.tolist(), strict=True):
        untouched &= pair.masks[index] if outside else ~pair.masks[index]
    assert torch.equal(pair.source[untouched], pair.target[untouched])


def test_a_picture_of_ones_own() -> None:
    photo = torch.randint(256, (20, 30, 3), dtype=torch.uint8)
    pair = syn_edit(photo, 3, [EditOp.CONTRAST], 1, local=1.0)
    assert torch.equal(pair.source, photo) and pair.target.shape == photo.shape
    assert pair.masks.shape == (0, 20, 30) and pair.mask_index.tolist() == [-1]
    generated = syn_pair(3, 32, [EditOp.CONTRAST], 1)
    assert torch.equal(generated.params, pair.params), "edits follow from the seed alone"


def test_pairs_have_streams_of_their_own() -> None:
    one = [EditOp.BRIGHTNESS, EditOp.CONTRAST]
    assert same(syn_pair(1, 32, one, 2), syn_pair(1, 32, one, 2))
    digests = {digest([syn_pair(seed, 32, one, 2, index=index)]) for seed in range(3) for index in range(3)}
    assert len(digests) == 9


@pytest.mark.parametrize("library", ["_C", "_C_avx2", "_C_avx512"])
def test_the_same_bytes_on_every_machine(library: str) -> None:
    """In a process that takes the library of a lesser machine, and with one thread and with three."""
    if not (_library.FOLDER / f"{library}.so").exists():
        pytest.skip("not built")
    capability = library.partition("_C_")[2] or "default"
    code = (
        "import sys, torch; from tasks.editing.pairs import GOLDEN, golden_digest\n"
        "for threads in (1, 3):\n"
        "    torch.set_num_threads(threads)\n"
        "    assert golden_digest() == GOLDEN, (threads, golden_digest())\n"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 31}, "size must be 32 to 1024, got 31"),
        ({"size": 1025}, "size must be 32 to 1024, got 1025"),
        ({"seed": -1}, r"seed must be a whole number from 0 to 2\^63 - 1, got -1"),
        ({"index": -1}, r"index must be a whole number from 0 to 2\^63 - 1, got -1"),
        ({"steps": 0}, "steps must be 1 to 6, the number of operators, got 0"),
        ({"steps": 7}, "steps must be 1 to 6, the number of operators, got 7"),
        ({"steps": (3, 2)}, r"steps must be 1 to 6, the number of operators, got \(3, 2\)"),
        ({"operators": []}, "steps must be 1 to 0"),
        ({"operators": [EditOp.EDGE], "steps": 1}, "operators must be some of BRIGHTNESS, .*, got EDGE"),
        ({"local": 1.5}, "local must be a probability from 0 to 1, got 1.5"),
        ({"local": float("nan")}, "local must be a probability from 0 to 1, got nan"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}") as caught:
        syn_pair(**{"seed": 0, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "picture", [torch.zeros(3, 8, 8), torch.zeros(8, 8, 4, dtype=torch.uint8), torch.zeros(0, 8, 3)]
)
def test_only_pictures_are_edited(picture: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"scene must be uint8 \[H, W, 3\] with pixels, got "):
        syn_edit(picture, 0)
