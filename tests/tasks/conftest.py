"""Made scenes with masks, and a graft that answers them with one class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.data import Samples, check, read
from torchgraft.model import Decoder, SceneGraft

CLASSES = ("sky", "road", "car")
COLOURS = ((128, 128, 128), (128, 64, 128), (64, 0, 128))


def truth(i: int, width: int = 16, height: int = 12) -> np.ndarray:
    """Sky above, road below from a row that moves with i, and a car on the road, i columns wide; one void pixel."""
    y = np.zeros((height, width), dtype=np.uint8)
    y[4 + i % 4 :] = 1
    y[9:11, : 1 + i] = 2
    y[0, 0] = 255
    return y


@pytest.fixture
def streets(tmp_path: Path) -> Callable[..., Samples]:
    """`streets(8)`: as many scenes, read and checked. What an image shows is its mask, in its colours with noise."""

    def make(n: int = 8, **parts: int) -> Samples:
        root = tmp_path / f"streets{n}{''.join(parts)}"
        for part, first, count in _parts(n, parts):
            for kind in ("images", "masks"):
                (root / part / kind).mkdir(parents=True)
            for i in range(first, first + count):
                _write(root / part, i)
        (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
        return check(read(root))[0]

    return make


def _parts(n: int, parts: dict[str, int]) -> list[tuple[str, int, int]]:
    if not parts:
        return [("", 0, n)]
    ends = np.cumsum([0, *parts.values()]).tolist()
    return [(name, first, count) for (name, count), first in zip(parts.items(), ends, strict=False)]


def _write(folder: Path, i: int) -> None:
    y, name = truth(i), f"{chr(97 + i)}{i}"
    noise = np.random.default_rng(i).integers(0, 40, (*y.shape, 3))
    x = np.array([*COLOURS, (255, 255, 255)])[np.minimum(y, 3)] // 2 + noise
    Image.fromarray(x.astype(np.uint8)).save(folder / "images" / f"{name}.png")
    mask = Image.fromarray(y)
    mask.putpalette([channel for colour in COLOURS for channel in colour])
    mask.save(folder / "masks" / f"{name}.png")


@pytest.fixture
def always() -> Callable[..., SceneGraft]:
    """`always("road")`: every pixel is road, three quarters sure of it and equally of the others."""

    def make(name: str, **changes: object) -> SceneGraft:
        share = np.where(np.array(CLASSES) == name, 6.0, 1.0)
        plain = {
            "source": None,
            "decoder": Decoder(name="constant", arrays={"bias": np.log(share).astype(np.float32)}),
            "scale": 1.0,
            "classes": CLASSES,
            "colours": COLOURS,
            "method": "pixel_majority",
        }
        return SceneGraft(**(plain | changes))

    return make
