"""Small grafts: on rows of numbers, and on photos with a backbone of one convolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.mapping import Identity
from torchgraft.model import Graft, LinearHead, Part


@pytest.fixture
def numbers() -> Graft:
    """logits = x: the larger of two numbers wins."""
    return Graft(
        parts=(Part("array", Identity()),),
        head=LinearHead(np.eye(2), np.zeros(2)),
        classes=("cat", "dog"),
        modality="array",
        method="by hand",
        threshold=0.7,
    )


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> Graft:
    """Tells red photos from blue ones: the mean of each channel is the feature."""
    convolution = nn.Conv2d(3, 3, 1, bias=False)
    convolution.weight.data = torch.eye(3)[:, :, None, None]
    backbone = Backbone(
        name="test/mean",
        parameters=9,
        build=lambda: Network(module=convolution.eval()),
        layout="map",
        width=3,
        pooling="avg",
        preprocessing=ImagePreprocessing(size=16, resize=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        licence="none",
        revision="mean-1",
    )
    monkeypatch.setattr(backbones, "load", lambda name: backbone)
    about = {"name": backbone.name, "revision": "mean-1", "pooling": "avg", "licence": "none"}
    return Graft(
        parts=(Part("test/mean", Identity()),),
        head=LinearHead(np.array([[9.0, 0, 0], [0, 0, 9.0]]), np.zeros(2)),
        classes=("red", "blue"),
        modality="image",
        method="by hand",
        backbones={"test/mean": about},
    )


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two red photos and a blue one in folders, a broken file, and a note."""
    for name, colour in (("a.png", (255, 0, 0)), ("deep/b.png", (0, 0, 255)), ("deep/er/c.jpg", (250, 0, 0))):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), colour).save(path)
    (tmp_path / "album" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (tmp_path / "album" / "notes.md").write_text("no photo")
    return tmp_path / "album"
