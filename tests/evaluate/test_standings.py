"""Standings: by hand, by symmetry, and against a chance that is known."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.evaluate.standings import standings


def test_by_hand() -> None:
    right = np.array([1.0, 1.0, 1.0, 0.0])
    found = standings(
        {
            "a": {"knn": right, "probe": right},  # first by both
            "b": {"knn": 1 - right, "probe": right},  # last by kNN (with c before it), level first by the probe
            "c": {"knn": right * [1, 1, 0, 0], "probe": 1 - right},
        }
    )
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.rank for one in found] == [(1 + 1.5) / 2, (3 + 1.5) / 2, (2 + 3) / 2]
    assert found[0].scores["knn"].value == 0.75
    assert sum(one.chance_best for one in found) == pytest.approx(1)


def test_equals_share_the_chance() -> None:
    right = np.random.default_rng(0).integers(0, 2, 50).astype(float)
    found = standings({name: {"knn": right} for name in "abcd"})
    assert [one.chance_best for one in found] == pytest.approx([0.25] * 4)
    assert [one.rank for one in found] == [2.5] * 4


def test_a_sure_winner_is_sure() -> None:
    rng = np.random.default_rng(1)
    good, bad = (rng.random(400) < p for p in (0.9, 0.5))
    found = standings({"bad": {"knn": bad.astype(float)}, "good": {"knn": good.astype(float)}})
    assert found[0].name == "good"
    assert found[0].chance_best > 0.999


def test_the_chance_is_that_of_the_sign_of_a_mean() -> None:
    """b beats a on 12 samples and loses on 8 of 200: the bootstrapped difference is near normal, mean 4, sd 4.46."""
    a, b = np.zeros(200), np.zeros(200)
    b[:12], a[12:20] = 1, 1
    found = {one.name: one for one in standings({"a": {"s": a}, "b": {"s": b}}, draws=20_000)}
    assert found["b"].chance_best == pytest.approx(0.815, abs=0.03)  # Phi(4 / 4.46), half of the ties counted
    assert found["a"].scores["s"].low <= 0.04 <= found["a"].scores["s"].high
