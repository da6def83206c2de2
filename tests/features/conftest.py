"""Tiny backbones and made photos for the tests of this room."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing, TextPreprocessing
from torchgraft.data import Samples

PREPROCESSING = ImagePreprocessing(size=32, resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class TinyText(nn.Module):
    """Embeddings, mixed over the tokens under the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.linear = nn.Linear(6, 6)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        weight = mask.unsqueeze(-1).float()
        z = self.embedding(ids)
        middle = (z * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
        return torch.tanh(self.linear(z + middle))


class Words:
    """One token per word: its length; cut at 8."""

    padding = 0

    def __call__(self, texts: list[str]) -> list[list[int]]:
        return [[min(len(word), 49) for word in text.split()][:8] or [49] for text in texts]


@pytest.fixture(scope="session")
def photo_backbone() -> Backbone:
    """A convolution with batch norm: B x 3 x 32 x 32 -> B x 5 x 8 x 8."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 4, stride=4), nn.BatchNorm2d(5), nn.Hardswish())
    return Backbone(
        name="test/photo",
        parameters=0,
        build=lambda: Network(module=module.eval()),
        layout="map",
        width=5,
        pooling="avg",
        preprocessing=PREPROCESSING,
        licence="none",
        revision="photo-1",
    )


@pytest.fixture(scope="session")
def text_backbone() -> Backbone:
    """Six values for each token."""
    torch.manual_seed(0)
    network = Network(module=TinyText().eval(), tokenizer=Words())
    return Backbone(
        name="test/text",
        parameters=0,
        build=lambda: network,
        layout="tokens",
        width=6,
        pooling="mean",
        preprocessing=TextPreprocessing(tokenizer="words", max_tokens=8),
        licence="none",
        revision="text-1",
    )


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Smooth random pictures, H x W x 3 uint8."""

    def make(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
        small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))

    return make


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """A picture as the bytes of a file."""

    def make(picture: np.ndarray | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    return make


@pytest.fixture
def photos(tmp_path: Path, noise: Callable, encode: Callable) -> Callable[[int], list[Path]]:
    """`n` different JPEG files."""

    def make(n: int) -> list[Path]:
        paths = [tmp_path / f"{i:03}.jpg" for i in range(n)]
        for i, path in enumerate(paths):
            path.write_bytes(encode(noise(i), quality=90))
        return paths

    return make


@pytest.fixture(scope="session")
def as_samples() -> Callable[..., Samples]:
    """Paths or texts as unlabelled samples."""

    def make(x: Sequence, modality: str) -> Samples:
        n = len(x)
        return Samples(
            modality=modality,
            ids=tuple(f"id-{i}" for i in range(n)),
            x=x,
            y=np.full(n, -1, dtype=np.int64),
            classes=(),
            split=np.full(n, "", dtype="<U5"),
            root=Path(),
        )

    return make
