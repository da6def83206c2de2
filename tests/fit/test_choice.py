"""Which backbones a run is given where none is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchgraft.backbones import Offer
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.features.speed import Speed
from torchgraft.fit import _candidates, _choice, _inputs, ranking
from torchgraft.fit._choice import choose_backbones
from torchgraft.fit.options import FitOptions

GOOD = Offer(name="packaged/good", modality="image", width=8, parameters=5, size=20_000_000, licence="Apache-2.0")
QUICK = replace(GOOD, name="packaged/quick", parameters=1, size=5_000_000)
CACHED = replace(GOOD, name="timm/cached", parameters=3, size=10_000_000)
HUGE = replace(GOOD, name="timm/huge", parameters=900, size=2_000_000_000)
GAPS = {"packaged/good": 1.5, "packaged/quick": 0.2, "timm/cached": 0.8}
SPEEDS = {"packaged/good": 0.03, "packaged/quick": 0.01, "timm/cached": 0.02}


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`choose_backbones` over these offers, with features made up and speeds given."""
    y = np.arange(240) % 3

    def features(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        z = rng.normal(size=(len(y), 12)) + GAPS[name] * rng.normal(size=(3, 12))[y]
        return z[rows].astype(np.float32), np.arange(len(rows))

    def speed(self, name: str) -> Speed:
        return Speed(latency=SPEEDS[name], throughput=1 / SPEEDS[name], engine="torch")

    monkeypatch.setattr(ranking.Networks, "features", features)
    monkeypatch.setattr(ranking.Networks, "speed", speed)
    monkeypatch.setattr(ranking.Networks, "source", lambda self, name, z: None)
    monkeypatch.setattr(ranking.Networks, "tuning", lambda self, name, deadline: float("nan"))
    samples = Samples(
        modality="image",
        ids=tuple(map(str, range(240))),
        x=[Path(str(i)) for i in range(240)],
        y=y,
        classes=("a", "b", "c"),
        split=np.full(240, "train"),
        root=Path(),
    )

    def run(offers: list[Offer], journal: Journal | None = None, **options: str):
        for module in (_inputs, _candidates):
            monkeypatch.setattr(module.backbones, "offers", lambda modality: offers)
        given = FitOptions(target="x", **options)
        return choose_backbones(given, samples, deadline=float("inf"), progress=SILENT, journal=journal or Journal())

    return run


def test_packaged_ones_are_all_used_without_a_race(choose: Callable) -> None:
    found = choose([GOOD, QUICK])
    assert found.names == ("packaged/quick", "packaged/good")
    assert found.ranking is None
    assert found.pick == ""


def test_a_cache_makes_it_a_race_of_which_the_best_are_used(choose: Callable, monkeypatch) -> None:
    monkeypatch.setattr(_choice, "MOST", 2)
    found = choose([GOOD, QUICK, CACHED, HUGE])
    assert found.names == ("timm/cached", "packaged/good"), "cheapest first"
    assert found.ranking["backbones"][0]["backbone"] == "packaged/good"
    assert {one.name for one in found.skipped} == {"packaged/quick"}
    assert "Start from packaged/good" in found.ranking["advice"]["sentence"]
    assert found.pick == "packaged/good"


def test_with_a_limit_it_is_the_knee_alone(choose: Callable) -> None:
    found = choose([GOOD, QUICK, CACHED], max_latency="25ms")
    assert found.names == ("timm/cached",)
    assert any(one.name == "packaged/good" and "30 ms here" in one.reason for one in found.skipped)


def test_named_ones_are_used_as_they_are(choose: Callable) -> None:
    assert choose([GOOD, QUICK], backbone="packaged/good").names == ("packaged/good",)


def test_a_run_that_goes_on_hears_the_same(choose: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal()
    first = choose([GOOD, QUICK, CACHED], journal=journal)
    monkeypatch.setattr(ranking, "run", lambda *_, **__: pytest.fail("asked again"))
    assert choose([GOOD, QUICK, CACHED], journal=journal) == first
