# SPDX-License-Identifier: Apache-2.0
"""Image files of other people: turned by EXIF, gray of many bits, odd modes, damaged, huge, and no files at all."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, DataError, read_image
from ldie.tasks.detection.images import to_image
from PIL import Image

UPRIGHT = np.zeros((12, 20, 3), np.uint8)
"""A red corner at the top left, green along the top, blue down the left: no turn of it looks the same."""
UPRIGHT[:4, :, 1] = UPRIGHT[:, :4, 2] = 255
UPRIGHT[:4, :4] = 255, 0, 0
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}
"""What a camera stores of an upright image, by the orientation that it notes (EXIF 2.3, tag 274)."""


def exif(orientation: object) -> Image.Exif:
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def raw_exif(kind: int, value: bytes) -> bytes:
    """EXIF data with an orientation of another type than the short integer that it has to be."""
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4sI", 0x0112, kind, 4, value, 0)


def photo(path: Path, orientation: int, upright: np.ndarray = UPRIGHT) -> Path:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(path, exif=exif(orientation), **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def data_set(root: Path, image: Path, height: int, width: int) -> CocoDataset:
    (root / "annotations").mkdir(exist_ok=True)
    content = {
        "images": [{"id": 1, "file_name": image.name, "height": height, "width": width}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [],
    }
    (root / "annotations" / f"instances_{image.parent.name}.json").write_text(json.dumps(content))
    return CocoDataset(root, image.parent.name)


def message(function: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "mpo"])
def test_a_turned_photo_is_read_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    large = UPRIGHT.repeat(8, axis=0).repeat(8, axis=1)  # so that JPEG's blocks blur little
    pixels = read_image(photo(tmp_path / f"a.{suffix}", orientation, large)).permute(1, 2, 0).numpy()
    assert pixels.shape == large.shape
    assert np.abs(pixels.astype(int) - large).mean() < (4 if suffix in ("jpg", "mpo") else 1e-9)


def test_a_turned_pillow_image_is_upright_too(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png", 6)
    expected = torch.from_numpy(UPRIGHT.transpose(2, 0, 1).copy())
    with Image.open(path) as image:
        assert torch.equal(to_image(image), expected)
        assert torch.equal(to_image(image), expected)  # and stays as it is
        assert torch.equal(to_image(image.convert("RGBA")), expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_annotated_size_says_which_way_an_image_lies(tmp_path: Path, orientation: int, suffix: str) -> None:
    (tmp_path / "val").mkdir()
    path = photo(tmp_path / "val" / f"a.{suffix}", orientation)
    upright = data_set(tmp_path, path, 12, 20)[0]
    assert upright.size == (12, 20) and np.array_equal(upright.image.permute(1, 2, 0), UPRIGHT)
    if orientation >= 5:
        stored = data_set(tmp_path, path, 20, 12)[0]
        assert np.array_equal(stored.image.permute(1, 2, 0), STORED[orientation](UPRIGHT))


def test_a_square_image_in_a_data_set_is_upright(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    square = UPRIGHT[:, :12]
    dataset = data_set(tmp_path, photo(tmp_path / "val" / "a.png", 6, square), 12, 12)
    assert np.array_equal(dataset[0].image.permute(1, 2, 0), square)


def test_an_image_of_neither_size_names_both_and_the_orientation(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    path = photo(tmp_path / "val" / "a.png", 8)
    text = message(lambda: data_set(tmp_path, path, 30, 40)[0])
    assert text.startswith(f"{path}: has 20 x 12 pixels (12 x 20 turned by its EXIF orientation 8), but ")
    assert "instances_val.json says 30 x 40" in text
    text = message(lambda: data_set(tmp_path, photo(path, 1), 30, 40)[0])
    assert "has 12 x 20 pixels, but" in text and "EXIF" not in text


@pytest.mark.parametrize(
    "damaged",
    [
        b"", b"garbage", b"Exif\0\0", b"Exif\0\0MM",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif(6).tobytes()[:-9], exif(0).tobytes(), exif(9).tobytes(), raw_exif(2, b"left"), raw_exif(3, bytes(4)),
        raw_exif(77, bytes(4)), raw_exif(12, bytes(4)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_damaged_exif_data_leave_an_image_as_stored(tmp_path: Path, damaged: bytes, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(UPRIGHT).save(path, exif=damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (3, 12, 20)


RAMP = np.linspace(0, 1, 256)[None].repeat(4, axis=0)


def tiff(values: np.ndarray) -> bytes:
    """A gray TIFF of a byte order and of unsigned numbers that Pillow does not write."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, 1), (273, 134), (277, 1)]
    entries += [(278, height), (279, values.nbytes), (339, 1)]
    directory = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    header = (
        (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(entries)) + directory + bytes(4)
    )
    assert len(header) == 134
    return header + values.tobytes()


@pytest.mark.parametrize(
    ("top", "dtype", "suffix", "levels"),
    [
        (1, np.float32, "tif", 256), (255, np.float32, "tif", 256), (4095, np.float32, "tif", 256),
        (65535, np.float32, "tif", 256), (1e9, np.float32, "tif", 256), (1.5, np.float32, "tif", 256),
        (0.01, np.float32, "tif", 256), (3e38, np.float32, "tif", 256), (65535, np.int32, "tif", 256),
        (255, np.int32, "tif", 256), (1000, np.int32, "tif", 60), (2**31 - 1, np.int32, "tif", 256),
        (65535, np.uint16, "tif", 256), (65535, np.uint16, "png", 256), (4095, np.uint16, "png", 256),
        (255, np.uint16, "png", 256), (9, np.uint16, "png", 10), (65535, None, "tif", 256),
    ],
)  # fmt: skip
def test_gray_of_many_bits_keeps_its_levels(tmp_path: Path, top: float, dtype: type | None, suffix: str, levels: int):
    path = tmp_path / f"ramp.{suffix}"
    values = np.round(RAMP * top) if dtype is not np.float32 else RAMP * top
    if dtype is None:
        path.write_bytes(tiff(values.astype(">u2")))
    else:
        Image.fromarray(values.astype(dtype)).save(path)
    image = read_image(path)
    row = image[0, 2].int()
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    assert (row.diff() >= 0).all() and row[0] == 0 and row[-1] >= 60
    assert len(row.unique()) >= levels


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_a_dark_picture_of_many_bits_stays_dark(top: float) -> None:
    values = (RAMP * top / 4).astype(np.float32)
    assert to_image(Image.fromarray(values)).max() == 64


def test_gray_below_zero_is_stretched_and_what_is_no_number_is_black() -> None:
    values = np.array([[-1000.0, 0.0, 1000.0, 3000.0, np.nan, np.inf, -np.inf]], dtype=np.float32)
    assert to_image(Image.fromarray(values))[0, 0].tolist() == [0, 64, 128, 255, 0, 255, 0]
    assert to_image(Image.fromarray(values[:, 4:]))[0, 0].tolist() == [0, 255, 0]
    huge = np.array([[-3e38, 0.0, 3e38]], dtype=np.float32)
    assert to_image(Image.fromarray(huge))[0, 0].tolist() == [0, 128, 255]
    assert to_image(Image.fromarray(np.array([[-3000, 1000]], dtype=np.int32)))[0, 0].tolist() == [0, 255]
    assert to_image(Image.fromarray(np.full((2, 2), -5, dtype=np.int32))).max() == 0


def test_unsigned_gray_of_32_bits_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.array([[0, 2**31, 2**32 - 1]], dtype="<u4")))
    assert read_image(path)[0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = Image.fromarray(UPRIGHT)
    if mode == "LAB":
        image = Image.new("LAB", (20, 12), (128, 128, 128))
    elif mode in ("La", "RGBa"):
        image = source.convert("LA" if mode == "La" else "RGBA").convert(mode)
    else:
        image = source.convert(mode)
    pixels = to_image(image)
    assert pixels.shape == (3, 12, 20) and pixels.dtype == torch.uint8
    if mode in ("P", "PA", "RGB", "RGBA", "RGBa", "CMYK"):
        assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - UPRIGHT).max() <= 60  # the palette is the web's
    assert len(pixels.flatten(1).unique(dim=1).T) > 1 or mode == "LAB"


def test_transparency_is_dropped_and_the_first_frame_is_read(tmp_path: Path) -> None:
    hidden = Image.fromarray(UPRIGHT).convert("RGBA")
    hidden.putalpha(0)
    assert np.array_equal(to_image(hidden).permute(1, 2, 0), UPRIGHT)
    palette = Image.fromarray(UPRIGHT).quantize(4)
    palette.save(tmp_path / "a.png", transparency=bytes([0, 0, 0, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0), UPRIGHT)
    for name in ("a.gif", "a.tif"):
        others = [Image.new("RGB", (20, 12), color) for color in ("white", "gray")]
        Image.fromarray(UPRIGHT).save(tmp_path / name, save_all=True, append_images=others)
        assert np.array_equal(read_image(tmp_path / name).permute(1, 2, 0), UPRIGHT)


def test_an_image_beyond_the_limit_says_so_and_one_near_it_says_nothing(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(UPRIGHT).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    text = message(lambda: read_image(path))
    assert text == (
        f"{path}: too large to open (Image size (240 pixels) exceeds limit of 200 pixels); "
        "scale it down or cut it into tiles"
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (3, 12, 20)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("folder", "not a readable image (a folder); give an image file"),
        ("pipe", "not a readable image (no regular file)"),
        ("socket", "not a readable image (no regular file)"),
        ("device", "not a readable image (no regular file)"),
        ("empty", "not a readable image (cannot identify image file"),
        ("text", "not a readable image (cannot identify image file"),
        ("long name", "cannot be read (File name too long)"),
        ("zero byte", "not a readable image (embedded null"),
    ],
)
def test_what_is_no_image_file_is_one_line(tmp_path: Path, kind: str, reason: str, monkeypatch) -> None:
    path = tmp_path / "a.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # opening one waits for a writer
    elif kind == "socket":
        monitor = socket.socket(socket.AF_UNIX)
        monkeypatch.chdir(tmp_path)  # the name of a socket has at most a hundred characters
        monitor.bind(path.name)
        monitor.close()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind in ("empty", "text"):
        path.write_text("" if kind == "empty" else "no picture")
    elif kind == "long name":
        path = Path("a" * 5000)
    else:
        path = Path("a\0.png")
    text = message(lambda: read_image(path))
    assert text.startswith(f"{path}: ") and reason in text


def test_a_truncated_pillow_image_is_one_line() -> None:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(whole, "PNG")
    image = Image.open(io.BytesIO(whole.getvalue()[:3000]))
    assert message(lambda: to_image(image)).startswith("image: not a readable image (")


@pytest.mark.parametrize("empty", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 0), np.uint8), torch.zeros(3, 4, 0)])
def test_an_image_without_pixels_is_named(empty: object) -> None:
    assert "without pixels" in message(lambda: to_image(empty))


def test_floats_that_are_no_numbers_are_pixels_still() -> None:
    values = torch.tensor([float("nan"), float("inf"), -1.0, 0.5]).expand(3, 1, 4)
    assert to_image(values)[0, 0].tolist() == [0, 255, 0, 128]
