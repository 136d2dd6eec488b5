# SPDX-License-Identifier: Apache-2.0
"""Photographs come out upright and whole: pixels, EXIF data, profile, XMP, alpha, 16 bit; or are refused in a line."""

from __future__ import annotations

import io
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ldie.errors import CheckpointError, DataError
from ldie.tasks.editing.photographs.photos import check_photo, read_photo, write_photo
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from tasks.editing.deep_pictures import read_png, read_tiff, write_png, write_tiff

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d" dc:title="a"/></x:xmpmeta>'


def pixels(height: int = 12, width: int = 20, channels: int = 3, dtype: Any = np.uint8) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def exif(orientation: int, order: str = "<") -> bytes:
    """Of a camera: make, orientation, a directory with a date and a maker's note, and a thumbnail's directory."""
    start, maker = 8, b"note\x00\x01\x02\x03\x04\x05"
    ifd = start + 2 + 12 * 3 + 4
    after = ifd + 2 + 12 * 2 + 4
    make, date = b"Maker\0", b"2026:01:02 03:04:05\0"
    places = [after, after + len(make), after + len(make) + len(date), after + len(make) + len(date) + len(maker)]
    data = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, start)
    data += struct.pack(f"{order}H", 3) + struct.pack(f"{order}HHII", 271, 2, len(make), places[0])
    data += struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0) + struct.pack(f"{order}HHII", 34665, 4, 1, ifd)
    data += struct.pack(f"{order}I", places[3])
    data += struct.pack(f"{order}H", 2) + struct.pack(f"{order}HHII", 36867, 2, len(date), places[1])
    data += struct.pack(f"{order}HHII", 37500, 7, len(maker), places[2]) + bytes(4) + make + date + maker
    return b"Exif\0\0" + data + struct.pack(f"{order}H", 0) + bytes(4)


def rewritten(path: Path) -> Path:
    """A copy by way of reading and writing."""
    photo = read_photo(path)
    copy = path.with_name(f"copy{path.suffix}")
    write_photo(photo, photo.pixels, copy)
    return copy


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_a_phones_jpeg_comes_out_upright_with_its_exif(orientation: int, order: str, tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    given = exif(orientation, order)
    Image.fromarray(pixels()).save(path, exif=given, icc_profile=PROFILE, xmp=XMP % orientation, dpi=(300, 300))
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    photo = read_photo(path)
    assert np.array_equal(photo.pixels, upright) and photo.size == upright.shape[:2]
    with Image.open(rewritten(path)) as image:
        kept = image.info["exif"]
        expected = exif(1, order)
        ifd0_end = 6 + 8 + 2 + 36
        assert kept == expected[:ifd0_end] + bytes(4) + expected[ifd0_end + 4 :]  # all of it, but for the thumbnail
        assert image.getexif()[274] == 1 and image.getexif()[271] == "Maker"
        assert image.getexif().get_ifd(34665)[37500] == b"note\x00\x01\x02\x03\x04\x05"
        assert image.info["icc_profile"] == PROFILE and image.info["xmp"] == XMP % 1
        assert image.info["dpi"] == (300, 300)
        assert image.size == upright.shape[1::-1]
        assert np.abs(np.asarray(image).astype(int) - upright).mean() < 12  # noise, at quality 95


@pytest.mark.parametrize(
    "damaged",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0what is this",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",  # it ends too early, after an orientation
    ],
)
def test_damaged_exif_is_no_obstacle(damaged: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.jpg"
    Image.fromarray(pixels()).save(path, exif=damaged)
    size = (20, 12) if b"\x12\x01" in damaged else (12, 20)  # turned by the orientation that can be read
    assert read_photo(path).size == size
    assert read_photo(rewritten(path)).size == size  # and not once more


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_keep_their_sampling(subsampling: int, progressive: bool, tmp_path: Path) -> None:
    from PIL import JpegImagePlugin

    path = tmp_path / "a.jpg"
    Image.fromarray(pixels(32, 32)).save(path, subsampling=subsampling, progressive=progressive)
    with Image.open(rewritten(path)) as image:
        assert JpegImagePlugin.get_sampling(image) == subsampling
        assert bool(image.info.get("progressive")) == progressive


def test_two_pictures_in_a_phones_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    first, second = (Image.fromarray(pixels(8 * k, 16)) for k in (1, 2))
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert read_photo(path).size == (8, 16)
    with Image.open(rewritten(path)) as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_lossless_files_come_out_the_same(suffix: str, mode: str, tmp_path: Path) -> None:
    if suffix == ".bmp" and mode in ("RGBA", "LA"):
        pytest.skip("Pillow writes no such BMP")
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(pixels(channels=4)).convert(mode)
    image.save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    with Image.open(path) as before, Image.open(rewritten(path)) as after:
        wanted = "RGBA" if before.has_transparency_data else "RGB"
        assert after.mode == wanted and (wanted == "RGBA" or mode not in ("RGBA", "LA"))
        assert np.array_equal(np.asarray(before.convert(wanted)), np.asarray(after))


def test_a_palettes_transparent_colour(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(pixels()).convert("P")
    image.save(path, transparency=3)
    with Image.open(path) as before, Image.open(rewritten(path)) as after:
        assert np.array_equal(np.asarray(before.convert("RGBA")), np.asarray(after))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_profile_and_exif_of_other_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels()).save(path, exif=exif(6), icc_profile=PROFILE)
    with Image.open(rewritten(path)) as image:
        assert image.size == (12, 20) and image.info["icc_profile"] == PROFILE
        found = image.getexif()
        assert found[271] == "Maker" and found.get(274, 1) == 1
        assert found.get_ifd(34665)[36867] == "2026:01:02 03:04:05"


def test_xmp_and_resolution_of_a_png(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", (XMP % 3).decode())
    Image.fromarray(pixels()).save(tmp_path / "a.png", pnginfo=text, dpi=(300, 150))
    with Image.open(rewritten(tmp_path / "a.png")) as image:
        assert image.info["xmp"] == XMP % 1
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_a_gray_profile_is_not_given_to_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels()).convert("L").save(path, icc_profile=PROFILE[:16] + b"GRAY" + PROFILE[20:])
    with Image.open(rewritten(path)) as image:
        assert "icc_profile" not in image.info and image.mode == "RGB"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png(channels: int, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    path, deep = tmp_path / "a.png", pixels(channels=channels, dtype=np.uint16)
    write_png(path, deep, {b"eXIf": exif(6)[6:], b"iTXt": b"XML:com.adobe.xmp" + bytes(5) + XMP % 6})
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint16 and photo.size == (20, 12)
    wanted = deep if channels > 2 else np.concatenate([deep[..., :1]] * 3 + [deep[..., 1:]], axis=2)
    assert np.array_equal(read_png(rewritten(path)), np.rot90(wanted, -1))
    with Image.open(rewritten(path)) as image:
        end = 6 + 8 + 2 + 36  # of the first directory, where the way to the thumbnail's stood
        assert image.info["exif"] == exif(1)[:end] + bytes(4) + exif(1)[end + 4 :]
        assert image.info["xmp"] == XMP % 1 and "dpi" not in image.info


def put_behind_the_pixels(path: Path) -> None:
    """Moves a PNG file's EXIF data and XMP packet to its end."""
    data, at = path.read_bytes(), 8
    chunks = []
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    chunks.sort(key=lambda chunk: (chunk[4:8] in (b"eXIf", b"iTXt"), chunk[4:8] == b"IEND"))
    last = [chunk for chunk in chunks if chunk[4:8] == b"IEND"]
    path.write_bytes(data[:8] + b"".join([chunk for chunk in chunks if chunk not in last] + last))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_metadata_behind_the_pixels_of_a_png(dtype: Any, tmp_path: Path) -> None:
    path, given = tmp_path / "a.png", pixels(dtype=dtype)
    if dtype == np.uint16:
        pytest.importorskip("pyvips")
        write_png(path, given, {b"eXIf": exif(6)[6:], b"iTXt": b"XML:com.adobe.xmp" + bytes(5) + XMP % 6})
    else:
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", (XMP % 6).decode())
        Image.fromarray(given).save(path, exif=exif(6), pnginfo=text)
    put_behind_the_pixels(path)
    with Image.open(path) as image:
        assert "exif" not in image.info and "xmp" not in image.info
    assert np.array_equal(read_photo(path).pixels, np.rot90(given, -1))
    with Image.open(rewritten(path)) as image:
        assert image.info["xmp"] == XMP % 1
        assert image.getexif()[271] == "Maker" and image.getexif()[274] == 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_deep_file_that_cannot_be_written(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    path = tmp_path / f"a{suffix}"
    (write_png if suffix == ".png" else write_tiff)(path, pixels(200, 200, dtype=np.uint16))
    photo, limits = read_photo(path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"copy\.\w+: cannot be written \(.*\); free space or") as caught:
            write_photo(photo, photo.pixels, tmp_path / f"copy{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiff(channels: int, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    path, deep = tmp_path / "a.tif", pixels(channels=channels, dtype=np.uint16)
    make, orientation = (271, 2, 6, b"Maker\0"), (274, 3, 1, struct.pack("<H", 8))
    packet = (700, 1, len(XMP % 8), XMP % 8)
    write_tiff(path, deep, [make, orientation, packet, (34675, 7, len(PROFILE), PROFILE)])
    wanted = deep if channels > 2 else np.repeat(deep, 3, axis=2)
    assert np.array_equal(read_tiff(rewritten(path)), np.rot90(wanted))
    with Image.open(rewritten(path)) as image:
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[271] == "Maker" and image.getexif().get(274, 1) == 1
        assert image.info["xmp"] == XMP % 1 and 282 not in image.getexif()


def test_sixteen_bit_tiff_keeps_its_exif_directory(tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    path, deep = tmp_path / "a.tif", pixels(dtype=np.uint16)
    write_tiff(path, deep)
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 36867, 2, 20, 0) + bytes(4)
    end = path.stat().st_size
    body = directory[:10] + struct.pack("<I", end + len(directory)) + directory[14:] + b"2026:01:02 03:04:05\0"
    write_tiff(path, deep, [(34665, 4, 1, struct.pack("<I", end + 12))])
    assert path.stat().st_size == end + 12
    path.write_bytes(path.read_bytes() + body[:10] + struct.pack("<I", end + 12 + len(directory)) + body[14:])
    copy = rewritten(path)
    with Image.open(copy) as image:
        assert image.getexif().get_ifd(34665)[36867] == "2026:01:02 03:04:05"
    assert np.array_equal(read_tiff(copy), deep)


def test_sixteen_bit_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", pixels(dtype=np.uint16))
    monkeypatch.setattr("ldie.tasks.editing.photographs.deep_files.is_installed", lambda name: False)
    with pytest.raises(DataError, match=r"a.png: has 16 bits a channel, for which pyvips is needed; pip install "):
        read_photo(tmp_path / "a.png")


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(pixels(64, 64))).save(file, kind, **options)
    return file.getvalue()


def bmp_with_alpha(side: int) -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 108, side, side, 1, 32, 3, 4 * side * side, 2835, 2835, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return struct.pack("<2sIHHI", b"BM", 122 + 4 * side * side, 0, 0, 122) + sizes + masks + bytes(52 + 4 * side * side)


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (64, 64))]}
BAD: dict[str, tuple[bytes, str]] = {
    "cmyk.jpg": (encoded("JPEG", Image.new("CMYK", (8, 8))), "has CMYK colours; only gray and RGB of 8 or 16 bits"),
    "cmyk.tif": (encoded("TIFF", Image.new("CMYK", (8, 8))), "has CMYK colours"),
    "float.tif": (encoded("TIFF", Image.new("F", (8, 8))), "has floating-point or 32-bit colours"),
    "whole.tif": (encoded("TIFF", Image.new("I", (8, 8))), "has floating-point or 32-bit colours"),
    "lab.tif": (encoded("TIFF", Image.new("LAB", (8, 8))), "has LAB colours"),
    "animated.webp": (encoded("WEBP", **FRAMES), "is animated or has several pages"),
    "animated.png": (encoded("PNG", **FRAMES), "is animated or has several pages"),
    "pages.tif": (encoded("TIFF", **FRAMES), "is animated or has several pages"),
    "animated.gif": (encoded("GIF", **FRAMES), "is a GIF file; only JPEG, PNG, TIFF, WEBP, BMP are edited"),
    "alpha.bmp": (bmp_with_alpha(8), "has transparency, which is not kept in BMP files: convert it to PNG"),
    "empty.jpg": (b"", "not a readable image"),
    "text.png": (b"<html>", "not a readable image"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_edited(name: str, tmp_path: Path) -> None:
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    for call in (check_photo, read_photo):
        with pytest.raises(DataError) as caught:
            call(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_files(kind: str, tmp_path: Path) -> None:
    data = encoded(kind)
    path = tmp_path / f"a.{kind.lower()}"
    for part in (len(data) // 2, len(data) - 200):
        path.write_bytes(data[:part])
        with pytest.raises(DataError) as caught:
            read_photo(path)
        assert "not a readable image" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.bmp", "deep.tif"])
def test_broken_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "deep.tif":
        pytest.importorskip("pyvips")
        write_tiff(path, pixels(dtype=np.uint16), [(34675, 7, len(PROFILE), PROFILE)])
    else:
        Image.fromarray(pixels()).save(path, exif=exif(6), icc_profile=PROFILE)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        for place in rng.integers(0, rng.choice([64, len(data)]), 3):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_photo(rewritten(path))
        except DataError as error:
            assert "\n" not in str(error)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_truncated_deep_files(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    path = tmp_path / f"a{suffix}"
    (write_png if suffix == ".png" else write_tiff)(path, pixels(100, 100, dtype=np.uint16))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a readable image"):
        read_photo(path)


def test_missing_and_no_regular_files(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.jpg", "no such image"), (tmp_path, "a folder")):
        with pytest.raises(DataError, match=message):
            read_photo(path)


def test_too_large_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="too large to open"):
        check_photo(tmp_path / "a.png")
