"""What a contestant is asked, and what is made of its answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft import rank
from torchgraft.backbones import Backbone, Network, Offer
from torchgraft.core import registry
from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT
from torchgraft.core.types import ImagePreprocessing
from torchgraft.data import Samples
from torchgraft.features.speed import Speed
from torchgraft.fit import _contest
from torchgraft.fit._contest import Networks

OFFER = Offer(name="test/net", modality="image", width=6, parameters=1, size=1, licence="mit")
STEPS = ImagePreprocessing(size=32, resize=36, mean=(0.5,) * 3, std=(0.2,) * 3)


class Fed(Networks):
    """Features by hand: far apart, and the last two rows of each question can't be read."""

    def features(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = np.eye(6, dtype=np.float32)[self.samples.y[rows]] + 0.01 * rows[:, None].astype(np.float32) / 100
        return z[:-2], np.arange(len(rows) - 2)


@pytest.fixture
def contest() -> Networks:
    samples = Samples(
        modality="image",
        ids=tuple(map(str, range(60))),
        x=[Path(f"{i}.png") for i in range(60)],
        y=np.arange(60) % 3,
        classes=("a", "b", "c"),
        split=np.full(60, "train"),
        root=Path(),
    )
    return Fed(samples, {"test/net": OFFER}, engine="torch", seed=0, progress=SILENT)


def backbone(classifier: nn.Module | None) -> Backbone:
    network = Network(module=nn.Identity(), classifier=classifier)
    return Backbone(
        name="test/net", layout="map", width=6, pooling="avg", parameters=1, preprocessing=STEPS, licence="mit",
        revision="1", build=lambda: network,
    )  # fmt: skip


def test_what_cannot_be_read_is_wrong(contest: Networks) -> None:
    outcomes = contest.ask("test/net", np.arange(60))
    for score in ("linear_probe", "knn"):
        assert outcomes[score].tolist() == [1.0] * 58 + [0.0] * 2
    assert contest.seconds["test/net"] > 0


def test_scores_of_pretraining_ask_its_classifier(contest: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(_contest.backbones, "load", lambda name: backbone(nn.Linear(6, 9)))
    contest.ask("test/net", np.arange(60))
    z = contest.last["test/net"].z
    p = contest.source("test/net", z)
    assert p.shape == (58, 9)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    found = contest.scores("test/net", ("leep", "logme"))
    assert found["leep"] < 0 and np.isfinite(found["logme"])


def test_the_h_score_votes_on_the_rows_asked_last_and_the_table_where_it_knows(contest: Networks) -> None:
    contest.known = {"test/net": replace(OFFER, imagenet=70.0), "test/other": OFFER}
    for name, rows in (("test/net", np.arange(60)), ("test/other", np.arange(60)), ("test/other", np.arange(30))):
        contest.ask(name, rows)
    votes = contest.votes(tuple(contest.known))
    h_score = registry.get("rank", "h_score")
    z, _ = contest.features("", np.arange(60))
    whole = rank.Evidence(z=z, y=np.arange(58) % 3, n_classes=3)
    half = rank.Evidence(z=z[:28], y=np.arange(28) % 3, n_classes=3)
    assert votes["h_score"] == {"test/net": h_score.score(whole), "test/other": h_score.score(half)}
    assert 1.5 < votes["h_score"]["test/net"] < 2, "three classes all but explain the variance: C - 1 = 2 at most"
    assert votes["imagenet"] == {"test/net": 70.0}


def test_without_a_classifier_they_are_not_defined(contest: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_contest.backbones, "load", lambda name: backbone(None))
    contest.ask("test/net", np.arange(60))
    assert np.isnan(contest.scores("test/net", ("nce",))["nce"])


def test_who_is_too_slow_is_let_go(contest: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"test/net": 0.01, "test/slow": 0.05}
    contest.names = tuple(times)
    monkeypatch.setattr(contest, "speed", lambda name: Speed(latency=times[name], throughput=1.0, engine="torch"))
    assert not contest.too_slow(float("inf"))
    assert [one.name for one in contest.too_slow(0.02)] == ["test/slow"]
    assert contest.names == ("test/net",)
    with pytest.raises(OptionError, match="--max-latency 1ms: the fastest takes 10 ms here"):
        contest.too_slow(0.001)


def test_a_backbone_for_other_samples_is_refused(contest: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_contest.backbones, "load", lambda name: backbone(None))
    contest.samples = replace(contest.samples, modality="text")
    with pytest.raises(OptionError, match="test/net takes image samples, the data holds text samples"):
        contest.backbone("test/net")
