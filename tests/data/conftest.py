"""Small data sets that the tests of this room make."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Maker = Callable[..., Path]


@pytest.fixture
def image(tmp_path: Path) -> Maker:
    """Write a picture that differs from seed to seed; folders are made on the way."""

    def make(name: str, seed: int = 0, size: tuple[int, int] = (64, 48), mode: str = "RGB", **save: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
        picture.save(path, **save)
        return path

    return make


@pytest.fixture
def write(tmp_path: Path) -> Maker:
    """Write bytes or text to a file; folders are made on the way."""

    def make(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


@pytest.fixture
def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 40000 x 40000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def jpeg() -> bytes:
    """The bytes of a sound photo."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def mask(tmp_path: Path) -> Maker:
    """Write an array as an image file: H x W (uint8, uint16, bool) or H x W x 3; with a palette, a palette file."""

    def make(name: str, values: object, palette: list[tuple[int, int, int]] | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.asarray(values)
        picture = Image.fromarray(
            values if values.dtype.kind == "b" or values.dtype == np.uint16 else values.astype("u1")
        )
        if palette:
            picture.putpalette([part for colour in palette for part in colour])
        picture.save(path)
        return path

    return make


@pytest.fixture
def scenes(image: Maker, mask: Maker, write: Maker, tmp_path: Path) -> Maker:
    """Write d/[split/]images/STEM.png, masks of three stripes (values 0, 1, 2) beside them, and classes.txt."""
    seeds = iter(range(10_000))

    def make(*stems: str, split: str = "", classes: str = "sky\nroad\ncar\n", size: tuple[int, int] = (12, 9)) -> Path:
        where = f"d/{split}/" if split else "d/"
        for stem in stems:
            image(f"{where}images/{stem}.png", next(seeds), size)
            mask(
                f"{where}masks/{stem}.png",
                np.repeat(np.arange(size[1]) * 3 // size[1], size[0]).reshape(size[1], size[0]),
            )
        if classes:
            write("d/classes.txt", classes)
        return tmp_path / "d"

    return make
