"""The choice among rungs: simplest first, unless another is better beyond noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from torchgraft.core.types import Estimate
from torchgraft.fit.ladder import Entry
from torchgraft.fit.plan import Rung
from torchgraft.fit.verdict import choose, leader
from torchgraft.model import LinearHead
from torchgraft.tasks._answers import Answers
from torchgraft.tune.base import Candidate


def _entry(name: str, y: np.ndarray, accuracy: float, *, confidence: float = 0.9, seed: int = 0) -> Entry:
    """A rung of two classes that is right on a random share of the samples, always equally confident."""
    right = np.random.default_rng(seed).random(len(y)) < accuracy
    predicted = np.where(right, y, 1 - y)
    probabilities = np.full((len(y), 2), 1 - confidence)
    probabilities[np.arange(len(y)), predicted] = confidence
    candidate = Candidate(
        parts=(), head=LinearHead(np.zeros((2, 0)), np.zeros(2)), rows=np.arange(len(y)), logits=np.log(probabilities)
    )
    return Entry(
        rung=Rung(method=name, source=None, options=None),
        candidate=candidate,
        transfer=True,
        measured=Answers(
            rows=np.arange(len(y)),
            y=y,
            temperature=1.0,
            probabilities=probabilities,
            metrics={"accuracy": Estimate(float(right.mean()), 0.0, 1.0)},
        ),
        seconds=0.0,
        floor=name == "majority",
    )


@pytest.fixture
def y() -> np.ndarray:
    return np.random.default_rng(9).integers(0, 2, 400)


def test_equal_rungs_ship_the_first(y: np.ndarray) -> None:
    same = [_entry(name, y, 0.8, seed=3) for name in ("a", "b", "c")]
    assert choose(same).index == 0


def test_a_clearly_better_rung_is_shipped(y: np.ndarray) -> None:
    verdict = choose([_entry("a", y, 0.6), _entry("b", y, 0.9, seed=1)])
    assert verdict.index == 1
    assert verdict.sentence.startswith("Shipped: b, which beats the simpler rungs beyond noise, right on")


def test_a_later_equal_of_the_best_is_not_shipped(y: np.ndarray) -> None:
    ladder = [_entry("a", y, 0.55), _entry("b", y, 0.9, seed=1), _entry("c", y, 0.9, seed=2)]
    assert choose(ladder).index == 1


def test_a_gain_within_the_noise_is_said_and_not_shipped() -> None:
    y = np.random.default_rng(1).integers(0, 2, 40)
    ladder = [_entry("a", y, 0.80, seed=5), _entry("b", y, 0.84, seed=6)]
    verdict = choose(ladder)
    assert verdict.index == 0
    assert [one["rung"] for one in verdict.comparisons] == [1]


def test_one_rung_is_shipped_as_it_is(y: np.ndarray) -> None:
    assert "only rung" in choose([_entry("a", y, 0.7)]).sentence


def test_the_floor_is_not_shipped_where_anything_looks_better() -> None:
    y = np.tile([0, 1], 6)
    floor = _entry("majority", y, 0.5, confidence=0.5)
    verdict = choose([floor, _entry("lda", y, 0.7, confidence=0.6, seed=2)])
    assert verdict.index == 1
    assert "12 labels are too few to show that it beats always guessing" in verdict.sentence


def test_the_floor_is_shipped_where_all_else_is_worse() -> None:
    y = np.tile([0, 1], 50)
    verdict = choose([_entry("majority", y, 0.5, confidence=0.5), _entry("lda", y, 0.4, seed=2)])
    assert verdict.index == 0


def test_rungs_are_compared_on_the_rows_that_both_answered(y: np.ndarray) -> None:
    """The second answers the last 100 rows only, where the first is always wrong; elsewhere the first is right."""
    first, second = _entry("a", y, 1.0), _entry("b", y, 0.95, seed=1)
    wrong = np.where(np.arange(400) >= 300, 1 - y, y)
    probabilities = np.full((400, 2), 0.1)
    probabilities[np.arange(400), wrong] = 0.9
    first = replace(first, measured=replace(first.measured, probabilities=probabilities))
    rows = np.arange(300, 400)
    few = replace(second.measured, rows=rows, y=y[rows], probabilities=second.measured.probabilities[rows])
    part = replace(second, measured=few)
    verdict = choose([first, part])
    assert verdict.index == leader([first, part]) == 1
    one, _ = verdict.comparisons
    assert one["fixed"] + one["broken"] <= 100
