"""Rankings of feature files whose order is known, and of what a ranking costs and says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.backbones import Offer
from torchgraft.core.errors import DataError, UnknownName
from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.evaluate.standings import standings
from torchgraft.features.speed import Speed
from torchgraft.fit import ranking
from torchgraft.fit._contest import Networks
from torchgraft.fit._race import Place
from torchgraft.fit.options import RankOptions
from torchgraft.fit.ranking import Ranked, advice, few, rank_backbones, rounds


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., str]:
    """Feature files of the same samples: `gap` says how far the classes are apart."""
    y = np.arange(240) % 3

    def make(name: str, gap: float, y: np.ndarray = y) -> str:
        rng = np.random.default_rng(len(name))
        x = rng.normal(size=(len(y), 12)) + gap * rng.normal(size=(3, 12))[y]
        np.savez(tmp_path / f"{name}.npz", X=x.astype(np.float32), y=y)
        return str(tmp_path / f"{name}.npz")

    return make


def test_the_better_features_come_first(files: Callable[..., str]) -> None:
    good, fair, poor = files("good", 1.5), files("fair", 0.6), files("poor", 0.0)
    found = rank_backbones(RankOptions(data=poor, backbones=f"{good},{fair}", scores="logme"))
    assert [row.name for row in found.rows] == [good, fair, poor]
    assert found.knee.name == good
    assert found.rows[0].place.chance_best > 0.9
    assert found.rows[-1].accuracy == pytest.approx(1 / 3, abs=0.12)
    assert found.rows[0].scores["logme"] > found.rows[-1].scores["logme"]
    assert f"Start from {good}: a linear probe on it is right on about" in found.sentence
    values = found.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert {"backbone", "accuracy", "chance_best", "parameters", "images_per_second"} <= set(values["backbones"][0])


def test_the_interval_holds_the_accuracy_on_new_samples(files: Callable[..., str]) -> None:
    found = rank_backbones(RankOptions(data=files("fair", 0.6)))
    estimate = found.rows[0].place.standing.scores["linear_probe"]
    assert estimate.low < found.rows[0].accuracy < estimate.high
    assert 0.03 < estimate.high - estimate.low < 0.2


def test_other_samples_are_refused(files: Callable[..., str]) -> None:
    a, other = files("a", 1.0), files("other", 1.0, y=np.arange(240) // 80)
    with pytest.raises(DataError, match=r"does not hold the samples of .*a\.npz"):
        rank_backbones(RankOptions(data=a, backbones=other))


def test_an_unknown_score_gets_a_near_miss(files: Callable[..., str]) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'logme'"):
        rank_backbones(RankOptions(data=files("a", 1.0), scores="logm"))


def test_labels_of_pixels_are_refused(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "images" / f"a{i}.png")
        Image.fromarray(np.eye(40, dtype=np.uint8)).save(tmp_path / "masks" / f"a{i}.png")
    with pytest.raises(DataError, match="holds segmentation labels; a ranking goes by one label for each sample"):
        rank_backbones(RankOptions(data=str(tmp_path), backbones="packaged/efficientnet_lite0"))


class Listed(Networks):
    """Features of six networks that tell two classes apart the better, the higher they stand in the table."""

    def __init__(self, samples: Samples, accuracies: Sequence[float | None]) -> None:
        about = partial(Offer, modality=samples.modality, width=8, parameters=1, size=1, licence="MIT")
        known = {name: about(name=name, imagenet=value) for name, value in zip("abcdef", accuracies, strict=True)}
        super().__init__(samples, known, engine="torch", seed=0, progress=SILENT)

    def speed(self, name: str) -> None:
        return None

    def source(self, name: str, z: np.ndarray) -> None:
        return None

    def features(self, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gap = 0.4 + 0.06 * self.names.index(name)
        z = np.random.default_rng(0).normal(size=(len(self.samples), 8)) + gap * self.samples.y[:, None]
        return z[rows].astype(np.float32), np.arange(len(rows))


def test_the_table_votes_on_those_that_it_knows() -> None:
    y = np.arange(120) % 2
    samples = Samples(
        modality="image",
        ids=tuple(map(str, range(120))),
        x=np.zeros((120, 1), dtype=np.float32),
        y=y,
        classes=("a", "b"),
        split=np.full(120, "train"),
        root=Path(),
    )
    contest = Listed(samples, (45.0, 55.0, 62.0, 70.0, 77.0, None))
    rows = ranking.run(contest, (), deadline=float("inf"))
    assert contest.votes("abf")["imagenet"] == {"a": 45, "b": 55}
    known, unknown = ["linear_probe", "knn", "h_score", "imagenet"], ["linear_probe", "knn", "h_score"]
    assert {row.name: row.to_dict()["by"] for row in rows} == dict.fromkeys("abcde", known) | {"f": unknown}
    rows = ranking.run(Listed(samples, (None,) * 6), (), deadline=float("inf"))
    assert not any("imagenet" in row.place.standing.by for row in rows)
    words = Listed(replace(samples, modality="text"), (45.0, 55.0, 62.0, 70.0, 77.0, None))
    assert {row.place.standing.by for row in ranking.run(words, (), deadline=float("inf"))} == {("linear_probe", "knn")}


def test_rounds_are_nested_and_keep_every_class() -> None:
    y = np.concatenate([np.zeros(1900, dtype=int), np.ones(100, dtype=int)])
    found = rounds(y, 0)
    assert [len(rows) for rows in found] == [251, 500, 1000, 2000]
    assert all(set(a) <= set(b) for a, b in pairwise(found))
    assert [int((y[rows] == 1).sum()) for rows in found] == [13, 25, 50, 100]
    assert [len(rows) for rows in rounds(y[:100], 0)] == [100], "few samples are not halved"


def test_many_samples_are_thinned() -> None:
    n = 3 * ranking.MOST
    samples = Samples(
        modality="array",
        ids=tuple(map(str, range(n))),
        x=np.zeros((n, 1), dtype=np.float32),
        y=np.arange(n) % 7,
        classes=tuple("abcdefg"),
        split=np.full(n, "train"),
        root=Path(),
    )
    assert abs(len(few(samples, 0)) - ranking.MOST) < 5
    assert few(samples.take(np.arange(50)), 0).ids == samples.ids[:50]


def row(name: str, right: np.ndarray, latency: float, chance: float = 0.5) -> Ranked:
    standing = standings({name: {"linear_probe": right, "knn": right}})[0]
    return Ranked(
        name=name,
        place=Place(standing=standing, samples=len(right), chance_best=chance),
        about=None,
        speed=Speed(latency=latency, throughput=1.0, engine="torch"),
        seconds=0.0,
        scores={},
    )


def test_the_knee_is_the_fastest_within_half_a_point() -> None:
    base = (np.random.default_rng(0).permutation(400) < 320).astype(float)
    lucky, sure, worse = base.copy(), base.copy(), base.copy()
    lucky[np.flatnonzero(base == 0)[:1]] = 1  # a quarter of a point more
    sure[np.flatnonzero(base == 0)[:40]] = 1  # ten points more
    worse[np.flatnonzero(base == 1)[:8]] = 0  # two points less: within the noise of 400 samples, and not good enough
    rows = [row("sure", sure, 0.03), row("lucky", lucky, 0.02, 0.7), row("quick", base, 0.01, 0.2)]
    rows += [row("slow", base, 0.04, 0.1), row("worse", worse, 0.005, 0.0)]
    marked = {one.name: one for one in ranking._marked(rows)}
    assert [name for name, one in marked.items() if one.front] == ["sure", "lucky", "quick", "worse"]
    assert [name for name, one in marked.items() if one.knee] == ["sure"]
    marked = ranking._marked(rows[1:])
    assert [one.name for one in marked if one.knee] == ["quick"]
    said = "lucky is likelier to be the best (70 % against 20 %), but takes 2.0 times as long for 0.2 points expected."
    assert said in advice(marked)
    assert "Start from quick: a linear probe on it" in advice(marked)
    assert "; frozen, it is the best of 3 with a chance of 20 %." in advice(marked[1:])


def test_who_is_as_likely_as_the_pick_but_for_rounding_is_not_called_likelier() -> None:
    right = (np.random.default_rng(0).permutation(400) < 320).astype(float)
    marked = ranking._marked([row("slow", right, 0.02, 0.501), row("quick", right, 0.01, 0.499)])
    assert "Start from quick" in advice(marked)
    assert "likelier" not in advice(marked)


def test_who_was_let_go_early_beats_nobody_that_ran_further() -> None:
    """On 100 samples `early` is faster and luckier than `far`, which is still on the front, and the knee."""
    rng = np.random.default_rng(0)
    far, slow, early = ((rng.permutation(n) < p * n).astype(float) for n, p in ((400, 0.8), (400, 0.8), (100, 0.9)))
    rows = [row("slow", slow, 0.03), row("far", far, 0.02), row("early", early, 0.01)]
    marked = {one.name: one for one in ranking._marked(rows)}
    assert [name for name, one in marked.items() if one.front] == ["far", "early"]
    assert [name for name, one in marked.items() if one.knee] == ["far"]
    late = ranking._marked([*rows, row("dim", early * 0, 0.04)])
    assert [one.name for one in late if one.front] == ["far", "early"], "but it is beaten by who ran further"
