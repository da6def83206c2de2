"""Small pictures as data addresses: upright, of every mode, and nothing for what is broken."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.evaluate.pictures import embedded, thumbnail


def test_pixels_are_embedded_as_they_are() -> None:
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, 20:] = (250, 0, 0)
    kind, _, data = embedded(pixels).partition(",")
    assert kind == "data:image/jpeg;base64"
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert found.shape == pixels.shape and np.abs(found[:, 30:].astype(int) - pixels[:, 30:]).max() < 12
    wide = Image.open(io.BytesIO(base64.b64decode(embedded(np.zeros((100, 1000, 3), np.uint8)).partition(",")[2])))
    assert wide.size == (256, 26)


def test_a_thumbnail_is_a_small_jpeg(tmp_path: Path) -> None:
    Image.new("RGBA", (400, 200), (255, 0, 0, 128)).save(tmp_path / "a.png")
    kind, _, data = thumbnail(tmp_path / "a.png").partition(",")
    assert kind == "data:image/jpeg;base64"
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    assert small.size == (128, 64)
    assert small.format == "JPEG"


def test_a_thumbnail_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "a.jpg", exif=exif)
    data = thumbnail(tmp_path / "a.jpg").partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (64, 128)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "I;16", "F", "CMYK"])
def test_every_mode_has_a_thumbnail(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (300, 300)).save(tmp_path / "a.tif")
    assert thumbnail(tmp_path / "a.tif").startswith("data:image/jpeg")


def test_a_broken_picture_has_no_thumbnail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for kind in ("png", "jpg", "gif", "webp"):
        path = tmp_path / f"a.{kind}"
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 3])
        assert thumbnail(path) == ""
        for _ in range(40):
            damaged = bytearray(data)
            for at in rng.integers(8, len(data), 12):
                damaged[at] = rng.integers(256)
            path.write_bytes(damaged)
            assert thumbnail(path)[:5] in ("", "data:")
    (tmp_path / "words.jpg").write_text("no picture")
    for path in (tmp_path / "words.jpg", tmp_path / "gone.jpg", tmp_path):
        assert thumbnail(path) == ""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (60, 60)).save(tmp_path / "bomb.png")
    assert thumbnail(tmp_path / "bomb.png") == ""
