"""Memory of apply_edits on a photograph, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from op_checks import PEAK

CHILD = f"""{PEAK}
import resource
import torch
import ldie_ext
from ldie_ext import EditOp

def held():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize()

chain = [EditOp.BRIGHTNESS, EditOp.CONTRAST, EditOp.SATURATION, EditOp.COLOR_CURVE, EditOp.TONE_CURVE]
ops, params = torch.tensor([chain]), torch.full((1, 5, 24), 0.2)
pixels = torch.full((3 * 4000 * 6000,), 77, dtype=torch.uint8)
for layout, shape in (("hwc", (1, 4000, 6000, 3)), ("chw", (1, 3, 4000, 6000))):
    images = pixels.view(shape)
    small = images[:, :64, :64].contiguous()
    ldie_ext.apply_edits(small, ops, params, layout=layout)  # threads and tables are there
    before = held()
    out = ldie_ext.apply_edits(images, ops, params, layout=layout)
    print(peak() * 1024 - before, out.nbytes)
    del out
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what the process holds from /proc")
def test_a_photograph_takes_its_output_and_little_more() -> None:
    """24 megapixels of bytes: the most that was held, less what was held before, is the output and at most 64 MiB."""
    done = subprocess.run([sys.executable, "-c", CHILD], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        most, output = map(int, line.split())
        assert output == 3 * 4000 * 6000
        assert 0.95 * output < most < output + (64 << 20)  # Linux counts pages in rough portions
