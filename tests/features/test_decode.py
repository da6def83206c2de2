from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from torchgraft.core.errors import DataError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.data import _images as checked
from torchgraft.features import decode as room
from torchgraft.features.decode import decode, fit, pixels, resized, scaled_shape

PREPROCESSING = ImagePreprocessing(size=32, resize=36, mean=(0.5,) * 3, std=(0.5,) * 3)
ORIENTATION = 0x0112


def by_pillow(data: bytes, size: int, resize: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """torchvision's Resize and CenterCrop on Pillow images, written out."""
    with Image.open(io.BytesIO(data)) as image:
        image = image.convert("RGB")
    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.resize((width, height), how).crop((left, top, left + size, top + size)))


def difference(x: torch.Tensor, reference: np.ndarray) -> int:
    return int((x.permute(1, 2, 0).int() - torch.from_numpy(reference.copy()).int()).abs().max())


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (200, 150), (36, 36), (37, 250)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_equals_pillow(noise, encode, shape, kind) -> None:
    data = encode(noise(0, *shape), kind)
    x = decode(data, PREPROCESSING)
    assert x.shape == (3, 32, 32)
    assert x.dtype == torch.uint8
    assert difference(x, by_pillow(data, 32, 36)) <= 2


def test_small_images_are_enlarged(noise, encode) -> None:
    data = encode(noise(0, 9, 12), "PNG")
    assert difference(decode(data, PREPROCESSING), by_pillow(data, 32, 36)) <= 2


def test_bilinear(noise, encode) -> None:
    data = encode(noise(1, 90, 120), "PNG")
    bilinear = ImagePreprocessing(size=32, resize=36, mean=(0,) * 3, std=(1,) * 3, interpolation="bilinear")
    assert difference(decode(data, bilinear), by_pillow(data, 32, 36, Image.Resampling.BILINEAR)) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photos_are_turned_upright(noise, encode, orientation, kind) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(noise(2), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.abs(pixels(data).astype(int) - expected).max() <= 1


def test_damaged_exif_does_not_cost_the_photo(noise, encode) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(noise(2), exif=exif).replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    assert pixels(data).shape == (48, 64, 3)


def test_without_simplejpeg_the_same(noise, encode, monkeypatch) -> None:
    data = encode(noise(3))
    fast = pixels(data)
    monkeypatch.setattr(room, "simplejpeg", None)
    assert np.abs(pixels(data).astype(int) - fast).max() <= 1


def test_grey_and_cmyk_jpegs(noise, encode) -> None:
    picture = Image.fromarray(noise(4))
    for mode in ("L", "CMYK"):
        data = encode(picture.convert(mode), quality=95)
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(pixels(data) - expected).max() <= 1


def test_what_is_transparent_is_laid_on_white(encode) -> None:
    picture = np.zeros((4, 4, 4), dtype=np.uint8)
    picture[..., 0] = 200
    picture[:2, :, 3] = 255
    found = pixels(encode(Image.fromarray(picture), "PNG"))
    assert (found[:2] == [200, 0, 0]).all()
    assert (found[2:] == 255).all()


def test_palettes_and_one_bit(encode) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (pixels(encode(palette, "PNG")) == [10, 20, 30]).all()
    assert (pixels(encode(palette, "PNG", transparency=1)) == 255).all()
    assert (pixels(encode(Image.new("1", (4, 4), 1), "PNG")) == 255).all()


def test_sixteen_bits_keep_their_range(encode) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = pixels(encode(Image.fromarray(ramp), "PNG"))
    assert np.abs(found[..., 0].ravel().astype(int) - np.arange(256)).max() <= 1
    dark = np.full((4, 4), 200, dtype=np.uint16)
    assert (pixels(encode(Image.fromarray(dark), "PNG")) == 1).all()


def test_floats_from_zero_to_one(encode) -> None:
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    ramp[0, 0] = np.nan
    found = pixels(encode(Image.fromarray(ramp), "TIFF"))
    assert found[0, 0, 0] == 0
    assert found[3, 3].tolist() == [255, 255, 255]


def test_a_line_of_one_pixel_stays_small(encode) -> None:
    x = decode(encode(np.full((1, 30_000, 3), 7, dtype=np.uint8), "PNG"), PREPROCESSING)
    assert x.shape == (3, 32, 32)
    assert (x == 7).all()


def test_the_middle_of_long_images_is_used(noise) -> None:
    long = np.zeros((8, 200, 3), dtype=np.uint8)
    long[:, 96:104] = 255
    assert (fit(long, PREPROCESSING)[:, :, 14:18] > 200).all()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_bombs_are_refused_before_they_are_decoded(side) -> None:
    with pytest.raises(DataError, match="too large to be decoded safely"):
        pixels(bomb(side, side))


def test_the_data_check_refuses_what_is_refused_here() -> None:
    assert room.MAX_PIXELS == checked.MAX_PIXELS


def test_huge_jpegs_are_refused(noise, encode, monkeypatch) -> None:
    monkeypatch.setattr(room, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match=r"64 x 48 pixels; more than 1,000"):
        pixels(encode(noise(0)))


def test_reasons(noise, encode) -> None:
    jpeg, png = encode(noise(0)), encode(noise(0), "PNG")
    for data, reason in (
        (b"", "an empty file"),
        (b"plain text", "not an image"),
        (jpeg[: len(jpeg) // 2], "truncated"),
        (jpeg[:20], "not an image|truncated"),
        (png[: len(png) // 2], "truncated"),
    ):
        with pytest.raises(DataError, match=reason):
            pixels(data)


def test_bytes_after_the_end_are_no_damage(noise, encode) -> None:
    data = encode(noise(0))
    assert (pixels(data + b"more") == pixels(data)).all()


@pytest.mark.filterwarnings("ignore:::PIL")
@settings(max_examples=60)
@given(st.data())
def test_damaged_bytes_give_pixels_or_a_reason(draw) -> None:
    stream = io.BytesIO()
    kind = draw.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]))
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(stream, kind)
    data = bytearray(stream.getvalue())
    for _ in range(draw.draw(st.integers(1, 6))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        found = pixels(bytes(data))
    except DataError as error:
        assert str(error)
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 3


@pytest.mark.shared
def test_real_photos_equal_pillow(shared_data: Path) -> None:
    real = ImagePreprocessing(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3)
    for path in sorted((shared_data / "imagenet_200").glob("*.jpg"))[:20]:
        data = path.read_bytes()
        assert difference(decode(data, real), by_pillow(data, 224, 256)) <= 2


def test_scenes_are_scaled_alike_and_never_too_small() -> None:
    assert scaled_shape((400, 601, 3), 0.5) == (200, 300) and scaled_shape((400, 600), 0.01) == (32, 32)
    labels = np.repeat(np.array([[0, 2]], dtype=np.uint8), 64, axis=0).repeat(64, axis=1)
    small = resized(labels, (32, 64), smooth=False)
    assert small.shape == (32, 64) and set(np.unique(small)) == {0, 2}, "no class between two"
    assert resized(labels, (64, 128)) is labels
    assert len(np.unique(resized(labels, (50, 77)))) > 2, "pictures are smoothed"
    square = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    np.testing.assert_array_equal(resized(square, (4, 4), smooth=False), np.kron(square, np.ones((2, 2))))
