"""Confidence: its two ends, by hand, and on photos that the network knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.rank import Evidence, confidence


def given(source: np.ndarray | None) -> Evidence:
    n = 2 if source is None else len(source)
    return Evidence(z=np.ones((n, 1), np.float32), y=np.zeros(n, dtype=int), n_classes=1, source=source)


def test_its_ends() -> None:
    assert confidence.score(given(np.eye(4))) == 1.0
    assert confidence.score(given(np.full((3, 5), 0.2))) == pytest.approx(0.2)
    assert np.isnan(confidence.score(given(None)))


def test_by_hand() -> None:
    assert confidence.score(given(np.array([[0.7, 0.3], [0.1, 0.9]]))) == pytest.approx(0.8)


@pytest.mark.shared
def test_a_network_is_surer_of_its_own_photos_than_of_noise(shared_data: Path, tmp_path: Path) -> None:
    from PIL import Image

    from torchgraft.core.progress import SILENT
    from torchgraft.data import ReadOptions, read
    from torchgraft.fit._candidates import Limits, candidates
    from torchgraft.fit._contest import Networks

    name, rng = "packaged/efficientnet_lite0", np.random.default_rng(0)
    (tmp_path / "own").mkdir()
    (tmp_path / "noise").mkdir()
    for i, path in enumerate(sorted((shared_data / "imagenet_200").glob("*.jpg"))[:24]):
        (tmp_path / "own" / path.name).symlink_to(path.resolve())
        Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)).save(tmp_path / "noise" / f"{i}.png")
    samples = read(tmp_path, ReadOptions())
    contest = Networks(samples, candidates("image", name, Limits())[0], engine="torch", seed=0, progress=SILENT)
    z, kept = contest.features(name, np.arange(len(samples)))
    p, own = contest.source(name, z), samples.y[kept] == samples.classes.index("own")
    assert confidence.score(given(p[own])) > confidence.score(given(p[~own])) + 0.3
