# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from ldie.nn.image_code import ImageEncoder


@pytest.mark.parametrize(("widths", "blocks", "size"), [((4, 8), 0, 32), ((4, 8, 8, 8), 2, 128), ((4,), 1, 33)])
def test_shapes(widths: tuple[int, ...], blocks: int, size: int) -> None:
    encoder = ImageEncoder(widths, blocks, 6)
    code = encoder(torch.rand(3, 3, size, size), torch.ones(3, 1, size, size))
    assert code.shape == (3, 6)
    assert torch.isfinite(code).all()


def test_it_sees_the_region_and_not_what_is_far_from_it() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder((4, 8), 0, 64).eval()
    left = torch.zeros(1, 1, 32, 32)
    left[..., :8] = 1
    image = torch.rand(1, 3, 32, 32)
    other = image.clone()
    other[..., 24:] = 0
    moved = [(encoder(image, region) - encoder(other, region)).abs().max() for region in (left, 1 - left)]
    assert moved[0] < 1e-4 * moved[1]
    assert torch.isfinite(encoder(image, torch.zeros_like(left))).all()
