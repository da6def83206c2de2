from __future__ import annotations

import numpy as np
import pytest

from torchgraft.core.errors import OptionError
from torchgraft.features.mapping import L2, Standardise
from torchgraft.tune._path import (
    PENALTIES,
    Recipe,
    calibrated_loss,
    choose,
    fit_penalised,
    mapping_for,
    measured,
    sample_weights,
    take,
)


def test_balanced_weights_give_every_class_the_same_sum():
    y = np.array([0, 0, 0, 2])
    weights = sample_weights(y, "balanced")
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2])
    assert weights.sum() == 4
    with pytest.raises(OptionError, match="none or balanced"):
        sample_weights(y, "heavy")


def test_calibrated_loss_does_not_see_the_scale():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    logits = np.eye(3)[y] + rng.normal(size=(200, 3))
    (one, t1), (two, t2) = (calibrated_loss(y, scale * logits, np.ones(200)) for scale in (1.0, 50.0))
    assert one == pytest.approx(two, abs=1e-3)
    assert t2 == pytest.approx(50 * t1, rel=0.05)


def test_temperature_stays_off_zero_where_all_is_right():
    _, t = calibrated_loss(np.arange(3), 5 * np.eye(3), np.ones(3))
    assert t > 0.05


def test_choose_takes_the_first_of_equals_and_stops_in_time(make_problem):
    y = np.arange(12) % 2
    problem = make_problem({"text": ["a"] * 12}, y)
    asked = []

    def logits_of(quality):
        asked.append(quality)
        return quality * np.eye(2)[problem.y[problem.held_out]] + np.resize([0.5, -0.5, 0.2], (12, 2))

    choice = choose(problem, (1.0, 1.0, 0.1, 0.05, 3.0), logits_of, "none", patience=2)
    assert choice.setting == 1.0
    assert asked == [1.0, 1.0, 0.1]


def test_rows_of_a_class_that_was_not_fitted_are_left_out(make_problem):
    y = np.array([0, 1, 0, 1, 2])
    problem = make_problem({"text": ["a"] * 5}, y, folds=((np.array([0, 1]), np.array([4, 3, 2])),))
    rows, kept, weights = measured(problem, "none")
    assert rows.tolist() == [1, 2]
    assert kept.tolist() == [1, 0]
    assert weights.tolist() == [1, 1]


def test_mapping_follows_the_source():
    z = np.arange(6, dtype=np.float32).reshape(3, 2) + 1
    assert isinstance(mapping_for("array")(z, None), Standardise)
    assert isinstance(mapping_for("packaged/net")(z, None), L2)


def test_take_rows():
    assert take(["a", "b", "c"], np.array([2, 0])) == ["c", "a"]
    assert take(np.arange(3), np.array([2, 0])).tolist() == [2, 0]


def test_the_penalty_follows_the_noise(blobs, make_problem):
    """Labels without any relation to the features ask for a strong penalty, clean classes for a weak one."""
    z, y = blobs(120, 30, 2, gap=6.0)
    noise = np.random.default_rng(1).permutation(y)
    chosen = []
    for labels in (noise, y):
        problem = make_problem({"packaged/net": z}, labels)
        candidate, scales = fit_penalised(problem, [Recipe("packaged/net", L2.fit)], "none")
        chosen.append(candidate.chosen["C"])
        assert scales == (1.0,)
        assert candidate.chosen["C"] in PENALTIES
    assert chosen[0] <= chosen[1]
