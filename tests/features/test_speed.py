"""Speed: what is measured is what ran, and nothing is claimed where nothing could be read."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError

module = import_module("torchgraft.features.speed")


def test_latency_is_of_one_sample_and_throughput_of_all(photos, as_samples, photo_backbone, monkeypatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))  # every reading one second later
    found = module.speed(as_samples(photos(20), "image"), photo_backbone, engine="torch", repeats=3)
    assert found.latency == 1.0
    assert found.throughput == 20.0
    assert found.engine == "torch"


def test_torch_has_one_form_for_all_networks(photos, as_samples, photo_backbone, monkeypatch) -> None:
    """Longer jobs would trace some of them, which takes seconds and compares forms."""
    jobs, real = [], module.choose
    monkeypatch.setattr(module, "choose", lambda *a, samples, **k: jobs.append(samples) or real(*a, samples=1, **k))
    for engine in ("torch", "auto"):
        module.speed(as_samples(photos(20), "image"), photo_backbone, engine=engine, repeats=1)
    assert jobs == [1, 20]


def test_texts(as_samples, text_backbone) -> None:
    found = module.speed(as_samples(["some words", "more of them here"], "text"), text_backbone, repeats=2)
    assert found.latency > 0 and found.throughput > 0


def test_samples_that_cannot_be_read_are_told(as_samples, photo_backbone, tmp_path: Path) -> None:
    broken = as_samples([tmp_path / "missing-1.png", tmp_path / "missing-2.png"], "image")
    with pytest.raises(DataError, match="none of the first 2 samples can be read"):
        module.speed(broken, photo_backbone)


def test_a_few_tell_what_all_would_take(as_samples, text_backbone, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCHGRAFT_CACHE", str(tmp_path))
    samples = as_samples([f"{'a' * (i % 9)} {'b' * i}" for i in range(600)], "text")
    assert 0.0 < module.expected_seconds(samples, text_backbone, engine="torch") < 60.0
    again = module.expected_seconds(samples, text_backbone, engine="torch")
    assert again == 0.0, "what is in the store costs nothing"
    few = samples.take(np.arange(511))
    assert module.expected_seconds(few, text_backbone) == 0.0, "few samples are not worth the measurement"
