"""Features of every backbone that the budget allows: a part where time is short, a reason where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.progress import SILENT
from torchgraft.core.types import ImagePreprocessing, TextPreprocessing
from torchgraft.data import Samples
from torchgraft.fit import _sources
from torchgraft.fit._sources import gather


class Tiny(nn.Module):
    """Four values for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.embedding(ids) * mask.unsqueeze(-1)


class Words:
    """One token per word: its length."""

    padding = 0

    def __call__(self, texts: list[str]) -> list[list[int]]:
        return [[min(len(word), 49) for word in text.split()][:8] or [49] for text in texts]


def _text(name: str) -> Backbone:
    torch.manual_seed(len(name))
    network = Network(module=Tiny().eval(), tokenizer=Words())
    return Backbone(
        name=name, layout="tokens", width=4, pooling="mean", parameters=200, licence="none", revision=f"{name}-1",
        preprocessing=TextPreprocessing(tokenizer="words", max_tokens=8), build=lambda: network,
    )  # fmt: skip


def _photo(name: str) -> Backbone:
    module = nn.Conv2d(3, 2, 4, stride=4).eval()
    values = ImagePreprocessing(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    return Backbone(
        name=name, layout="map", width=2, pooling="avg", parameters=98, licence="none", revision=f"{name}-1",
        preprocessing=values, build=lambda: Network(module=module),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _backbones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`test/photo` takes photos, every other name texts; the store is empty."""
    monkeypatch.setattr(_sources.backbones, "load", lambda name: _photo(name) if name == "test/photo" else _text(name))
    monkeypatch.setenv("TORCHGRAFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def texts() -> Callable[[int], Samples]:
    """N different texts; a tenth of them of the second class."""

    def make(n: int, modality: str = "text") -> Samples:
        x = [f"{'w' * (i % 40 + 1)} number {i}" for i in range(n)]
        return Samples(
            modality=modality,
            ids=tuple(str(i) for i in range(n)),
            x=x if modality == "text" else [Path(one) for one in x],
            y=(np.arange(n) % 10 == 0).astype(np.int64),
            classes=("often", "rare"),
            split=np.full(n, "train", dtype="<U5"),
            root=Path("reviews.csv"),
        )

    return make


def _gather(samples: Samples, *names: str, left: float = float("inf")):
    return gather(samples, names, engine="torch", deadline=time.monotonic() + left, progress=SILENT)


def test_every_source_has_the_same_rows(texts: Callable) -> None:
    sources = _gather(texts(30), "test/a", "test/bb")
    assert set(sources.blocks) == {"test/a", "test/bb", "text"}
    assert sources.blocks["test/a"].shape == (30, 4)
    assert sources.blocks["text"] == sources.samples.x
    assert sources.about["test/a"] == {
        "name": "test/a", "revision": "test/a-1", "licence": "none", "width": 4, "parameters": 200, "pooling": "mean",
    }  # fmt: skip
    assert set(sources.seconds) == set(sources.engines) == {"test/a", "test/bb"}
    assert not sources.skipped


def test_without_a_backbone_the_samples_stand_alone(texts: Callable) -> None:
    sources = _gather(texts(5))
    assert set(sources.blocks) == {"text"}
    assert len(sources.samples) == 5


def test_a_backbone_of_another_kind_is_refused(texts: Callable) -> None:
    with pytest.raises(OptionError, match="test/photo takes image samples, the target holds text samples"):
        _gather(texts(5), "test/photo")


def test_a_budget_too_short_takes_a_part_and_one_backbone(texts: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "expected_seconds", lambda samples, backbone, engine: 400.0)
    sources = _gather(texts(1000), "test/a", "test/bb", left=100.0)
    assert 180 < len(sources.samples) < 340, "about a quarter"
    assert sources.blocks["test/a"].shape == (len(sources.samples), 4)
    assert np.bincount(sources.samples.y)[1] >= 10
    (finding,) = (one for one in sources.findings if one.kind == "budget")
    assert finding.count == 1000 - len(sources.samples)
    assert finding.action == f"{len(sources.samples)} drawn at random were used"
    (skipped,) = sources.skipped
    assert skipped.name == "test/bb"
    assert skipped.reason.startswith("its features would take 400 s, the budget has ")


def test_a_spent_budget_still_gives_the_first_backbone(texts: Callable) -> None:
    sources = _gather(texts(40), "test/a", "test/bb", left=-5.0)
    assert sources.blocks["test/a"].shape == (40, 4)
    assert not sources.findings
    assert [one.name for one in sources.skipped] == ["test/bb"]
    assert "the budget has 0 s left" in sources.skipped[0].reason


def test_what_fits_into_the_last_second_is_taken_whole(texts: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "expected_seconds", lambda samples, backbone, engine: 0.5)
    sources = _gather(texts(40), "test/a", left=0.1)
    assert len(sources.samples) == 40
    assert not sources.findings


def test_not_one_readable_sample(texts: Callable) -> None:
    with pytest.raises(DataError, match=r"reviews.csv: not one sample could be read"):
        _gather(texts(4, "image"), "test/photo")


def test_a_part_keeps_rare_classes_and_repeats_itself(texts: Callable) -> None:
    samples = texts(1000)
    part, finding = _sources._part_of(samples, 0.01)
    counts = np.bincount(part.y)
    assert counts.min() >= 10
    assert len(part) + finding.count == 1000
    assert _sources._part_of(samples, 0.01)[0].ids == part.ids
