"""What an inpainter is given, what is made of its answer, and OpenCV's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from editing.executor_inputs import object_masks
from op_checks import assert_same
from torch import Tensor

import ldie_ext
from ldie_ext import EditExecutor


def test_inpainter_sees_holes_and_only_fills_them() -> None:
    seen = []

    def generator(images: Tensor, holes: Tensor) -> Tensor:
        seen.append((images, holes, torch.is_grad_enabled()))
        return torch.full_like(images, 0.25)

    images, mask = torch.rand(2, 3, 6, 8).requires_grad_(), object_masks(2, 6, 8, soft=True)
    actual = EditExecutor(generator).apply(images, "INPAINT_OBJ", mask=mask)
    ((given, holes, with_gradients),) = seen
    assert not with_gradients
    assert holes.dtype == torch.bool
    assert_same(holes, (mask > 0)[:, None])
    assert given.shape == images.shape
    weights = mask[:, None]
    torch.testing.assert_close(actual, weights * 0.25 + (1 - weights) * images)
    (grad,) = torch.autograd.grad(actual.sum(), images)
    torch.testing.assert_close(grad, (1 - weights).expand_as(grad))


@pytest.mark.parametrize("method", ["navier_stokes", "telea"])
def test_opencv_continues_the_surroundings(method: str) -> None:
    pytest.importorskip("cv2")
    executor = EditExecutor(ldie_ext.OpenCVInpainter(method=method))  # type: ignore[arg-type]
    ramp = torch.linspace(0, 1, 40).expand(2, 3, 30, 40).clone()
    mask = object_masks(2, 30, 40, soft=False)
    damaged = torch.where(mask[:, None], torch.rand_like(ramp), ramp)
    for dtype in (torch.float32, torch.float64, torch.float16):
        actual = executor.apply(damaged.to(dtype), "INPAINT_OBJ", mask=mask)
        off = (actual.float() - ramp).abs().masked_select(mask[:, None])
        assert float(off.mean()) < 0.1
        assert float(off.max()) < 0.2
        assert_same(actual[(~mask)[:, None].expand_as(ramp)], damaged.to(dtype)[(~mask)[:, None].expand_as(ramp)])
    dimmed = (damaged * 255).to(torch.uint8)
    actual = executor.apply(dimmed, "INPAINT_OBJ", mask=mask)
    assert int((actual.int() - (ramp * 255).int()).abs().max()) < 50
    inside = torch.where(mask[:, None], torch.rand_like(ramp), damaged)  # what the hole held does not matter
    assert_same(executor.apply(inside, "INPAINT_OBJ", mask=mask), executor.apply(damaged, "INPAINT_OBJ", mask=mask))


def test_opencv_in_the_holes_box_equals_the_whole_image() -> None:
    cv2 = pytest.importorskip("cv2")
    images, mask = torch.rand(1, 3, 90, 110), torch.zeros(90, 110, dtype=torch.bool)
    mask[40:52, 60:71] = True
    mask[30:33, 20:90] = True
    actual = ldie_ext.OpenCVInpainter()(images, mask[None, None])
    hole = mask.numpy().astype(np.uint8)
    channels = images[0].masked_fill(mask, 0.5).numpy() * 255
    whole = np.stack([cv2.inpaint(channel, hole, 3.0, cv2.INPAINT_NS) for channel in channels]) / 255
    filled = torch.where(mask, torch.from_numpy(whole), images[0])
    torch.testing.assert_close(actual[0], filled, rtol=0, atol=1e-6)


def test_opencv_with_nothing_or_everything_to_fill() -> None:
    pytest.importorskip("cv2")
    images = torch.rand(2, 3, 7, 9)
    holes = torch.tensor([False, True])[:, None, None].expand(2, 7, 9)
    assert_same(EditExecutor().apply(images, "INPAINT_OBJ", mask=holes), images)
    assert EditExecutor().apply(torch.rand(1, 3, 1, 1), "INPAINT_OBJ", mask=torch.ones(1, 1)).isfinite().all()


def test_without_opencv_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    executor = EditExecutor()
    with pytest.raises(ModuleNotFoundError, match=r"pip install ldie-ext\[inpaint\], or give EditExecutor") as caught:
        executor.apply(torch.rand(1, 3, 4, 4), "INPAINT_OBJ", mask=torch.eye(4))
    assert "\n" not in str(caught.value)
    assert executor.apply(torch.rand(1, 3, 4, 4), "FLIP").shape == (1, 3, 4, 4)


def test_making_an_executor_loads_nothing() -> None:
    """Neither weights nor a library: it opens no file, and imports no module that was not there."""
    code = """
import sys
import ldie_ext
ldie_ext.EditExecutor
before, opened = set(sys.modules), []
sys.addaudithook(lambda event, args: opened.append(args) if event == "open" else None)
ldie_ext.EditExecutor()
sys.exit(bool(opened or set(sys.modules) - before or {"cv2", "skimage", "scipy"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
