"""Small data sets for the main job: feature arrays, texts, and photos with a tiny local backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from torchgraft.backbones import timm

INSECTS = np.array(["ant", "bee", "cat"])
STREET = np.array([[90, 140, 220], [80, 80, 80], [200, 40, 40]])
"""Colours of sky, road and car."""


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """120 rows of 8 features in three classes that a linear head tells apart with few mistakes."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 40)
    x = rng.normal(size=(120, 8)) + 1.5 * np.eye(8)[y]
    path = tmp_path / "rows.npz"
    np.savez(path, X=x.astype(np.float32), y=np.array(["ant", "bee", "cat"])[y])
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """80 short texts whose words decide the label, one of them with markup in it."""
    rng = np.random.default_rng(1)
    words = {"good": ["lovely", "great", "warm", "fine"], "bad": ["awful", "torn", "cold", "cheap"]}
    rows = ["text,label"]
    for i in range(80):
        label = ("good", "bad")[i % 2]
        rows.append(f"the {rng.choice(words[label])} {rng.choice(words[label])} coat number {i},{label}")
    rows[5] = "<script>alert('coat')</script> awful torn cold,bad"
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def domain(n: int, *, seed: int, turn: float = 0.0, move: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """N x 6 rows of three Gaussian classes, and their names; turned by radians in one plane, and moved."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = 3.0 * np.eye(6)[y] + 0.8 * rng.normal(size=(n, 6))
    turned = np.eye(6)
    turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return (x @ turned + move * np.linspace(1, -1, 6)).astype(np.float32), INSECTS[y]


@pytest.fixture(scope="session")
def make_domain() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`domain`."""
    return domain


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labelled source and a target that is turned and moved, with labels, without, and with wrong ones;
    40 more samples like the target (`test.npz`), 20 more (`few.npz`), and the source without labels (`same.npz`).
    """
    path = tmp_path_factory.mktemp("pair")
    xs, ys = domain(72, seed=0)
    xt, yt = domain(81, seed=1, turn=0.5, move=2.0)
    x_test, y_test = domain(40, seed=2, turn=0.5, move=2.0)
    np.savez(path / "source.npz", X=xs, y=ys)
    np.savez(path / "target.npz", X=xt, y=yt)
    np.savez(path / "wrong.npz", X=xt, y=np.random.default_rng(3).permutation(yt))
    np.savez(path / "bare.npz", X=xt)
    np.savez(path / "test.npz", X=x_test, y=y_test)
    np.savez(path / "few.npz", **dict(zip("Xy", domain(20, seed=4, turn=0.5, move=2.0), strict=True)))
    np.savez(path / "same.npz", X=xs)
    return path


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """The name of the smallest MobileNetV3 with random weights, in a folder, for pictures of so many pixels."""

    def make(size: int) -> str:
        folder = tmp_path_factory.mktemp("backbone")
        torch.manual_seed(0)
        save_file(timm.build("mobilenetv3_small_050").state_dict(), folder / "weights.safetensors")
        (folder / "backbone.toml").write_text(
            'architecture = "timm/mobilenetv3_small_050"\nweights = "weights.safetensors"\n'
            f"size = {size}\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"
        )
        return f"local/{folder}"

    return make


@pytest.fixture(scope="session")
def street() -> Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]:
    """(pixels 48 x 64 x 3, labels 48 x 64) of sky above road, with a red car, under noise of so many grey levels."""

    def draw(rng: np.random.Generator, noise: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.zeros((48, 64), dtype=np.uint8)
        labels[20 + rng.integers(8) :] = 1
        left = rng.integers(4, 40)
        labels[30:42, left : left + 18] = 2
        return np.clip(STREET[labels] + rng.integers(-noise, noise, (48, 64, 3)), 0, 255).astype(np.uint8), labels

    return draw
