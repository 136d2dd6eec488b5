"""Malformed input of every kind: a result or a ValueError that names the item, from the native code and from Python."""

from __future__ import annotations

import subprocess
from typing import Any

from coco.fuzz.build import CORPUS, replay_program
from hypothesis import given
from hypothesis import strategies as st

from ldie_ext.coco import mask


def test_native_corpus() -> None:
    """What a coverage-guided fuzzer found, under the sanitizers: coco/fuzz/README.md."""
    done = subprocess.run([replay_program(), CORPUS], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[done.stderr.rfind("\ninput ") :]
    assert int(done.stdout) == len(CORPUS.read_text().splitlines()) > 100


SIDES = st.integers(-1, 9) | st.sampled_from([2**16, 2**31, 2**62, 10**30, 2.0, "3", None])
NUMBERS = st.integers(-9, 9) | st.floats() | st.sampled_from([2**31, 2**32 + 4, 10**400, True])
SCALARS = st.none() | NUMBERS | st.text() | st.binary()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
POLYGONS = st.lists(NUMBERS, max_size=10) | JSON
COUNTS = st.lists(NUMBERS) | st.binary() | st.text("0123456789OPQRSTopq", max_size=8) | JSON
RLES = st.fixed_dictionaries({}, optional={"size": st.lists(SIDES, min_size=1, max_size=3) | JSON, "counts": COUNTS})
ITEMS = st.lists(RLES | POLYGONS | st.lists(POLYGONS, max_size=3) | JSON, max_size=4) | st.lists(RLES, max_size=4)


@given(ITEMS, SIDES.filter(lambda side: isinstance(side, int) and side < 2**63))
def test_any_json(items: list[Any], side: int) -> None:
    calls = [
        lambda: mask.decode(items),
        lambda: mask.area(items),
        lambda: mask.toBbox(items),
        lambda: mask.merge(items),
        lambda: mask.runs(items),
        lambda: mask.iou(items, items, 0),
        lambda: mask.frPyObjects(items, side, 5),
        lambda: mask.rasterize(items, 5, side),
    ]
    for call in calls:
        try:
            call()
        except ValueError as error:
            assert any(name in str(error) for name in ("RLE ", "polygon ", "box ", "segmentation ", "size ", "dt "))
