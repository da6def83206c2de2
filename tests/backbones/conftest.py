"""No test of this room reaches a hub or the user's caches; networks are tiny and made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from torchgraft.backbones import Backbone


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that is out of reach."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download folder of torch."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def cached(cache: Path, repository: str) -> Path:
    """An empty snapshot folder of `repository`, laid out as the hub's client does it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123")
    (folder / "snapshots" / "abc123").mkdir(parents=True)
    return folder / "snapshots" / "abc123"


@pytest.fixture
def snapshot(hub_cache: Path):
    """A function from a repository's name to its empty folder in the cache."""
    return lambda repository: cached(hub_cache, repository)


@pytest.fixture
def top1():
    """A function from a backbone with its classifier and a folder of ImageNet photos to top-1 accuracy."""
    return _top1


def _photo(path: Path, backbone: Backbone) -> np.ndarray:
    """Size x size x 3 in [0, 1]: short side to `resize`, antialiased, centre cut out."""
    steps = backbone.preprocessing
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = steps.resize / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - steps.size) // 2 for side in image.size)
    return np.asarray(image.crop((left, top, left + steps.size, top + steps.size)), dtype=np.float32) / 255


def _top1(backbone: Backbone, folder: Path, mean=None, std=None, offset: int = 0) -> float:
    """Share of photos whose class is found; the i-th photo by name is of ImageNet class 5 i (+ offset)."""
    paths = sorted(folder.glob("*.jpg"))
    mean, std = mean or backbone.preprocessing.mean, std or backbone.preprocessing.std
    hits = 0
    with torch.inference_mode():
        for start in range(0, len(paths), 20):
            pixels = np.stack([_photo(path, backbone) for path in paths[start : start + 20]])
            x = torch.from_numpy((pixels - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2)
            logits = backbone.classifier(backbone.module(x).mean((2, 3)))
            expected = torch.arange(start, start + len(x)) * 5 + offset
            hits += int((logits.argmax(1) == expected).sum())
    return hits / len(paths)
