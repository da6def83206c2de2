"""What is said of held-out samples: by hand, and on the rows that two candidates share."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.evaluate import beaten_by, paired, summary
from torchgraft.tasks._answers import Answers


def _answers(rows: list[int], y: list[int], sure: list[float]) -> Answers:
    """Two classes; `sure` is the probability of the right one."""
    p = np.array(sure)
    y = np.array(y)
    proba = np.where(np.eye(2)[y] == 1, p[:, None], 1 - p[:, None])
    return Answers(rows=np.array(rows), y=y, temperature=1.0, probabilities=proba, metrics=summary(y, proba))


def test_mistakes_are_wrong_answers() -> None:
    found = _answers([0, 1, 2, 3], [0, 1, 0, 1], [0.9, 0.4, 0.2, 0.6])
    assert found.mistakes == 2
    assert found.metrics["accuracy"].value == 0.5


def test_what_is_saved_by_hand() -> None:
    """Brier's loss of a right class at p is 2 (1 - p)^2."""
    one, other = _answers([0, 1], [0, 1], [0.9, 0.8]), _answers([0, 1], [0, 1], [0.5, 0.8])
    assert one.saves(other) == pytest.approx((2 * 0.25 - 2 * 0.01) / 2)
    assert other.saves(one) == pytest.approx(-0.24)


def test_shared_rows_alone_are_compared_in_their_order() -> None:
    one = _answers([5, 1, 3], [0, 1, 0], [0.9, 0.8, 0.7])
    other = _answers([3, 4, 1], [0, 1, 1], [0.6, 0.2, 0.5])
    y, own, others = one.shared(other)
    assert y.tolist() == [1, 0]
    np.testing.assert_allclose(own[[0, 1], y], [0.8, 0.7])
    np.testing.assert_allclose(others[[0, 1], y], [0.5, 0.6])
    assert one.saves(other) == pytest.approx((2 * (0.25 - 0.04) + 2 * (0.16 - 0.09)) / 2)


def test_the_better_one_beats_and_equals_do_not() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(120) % 2).tolist()
    sure = rng.uniform(0.3, 0.9, 120)
    good, poor = _answers(list(range(120)), y, sure + 0.09), _answers(list(range(120)), y, sure)
    assert good.beats(poor) and not poor.beats(good) and not good.beats(good)
    assert good.beats(poor) == beaten_by(good.y, poor.probabilities, [good.probabilities], seed=0)[0]["beats"]
    assert good.against(poor, seed=1) == paired(good.y, poor.probabilities, good.probabilities, seed=1)
