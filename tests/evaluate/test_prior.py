"""Pooling: by hand, against the joint normal equations, against Stan's eight schools, and on what it may not change."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.evaluate.prior import LEAST, fit, learn, log_odds, noise, pool
from torchgraft.evaluate.standings import known_before, standings

DRAWS = 40_000


def around(y: np.ndarray, covariance: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    return np.random.default_rng(0).multivariate_normal(y, covariance, size=draws)


def shares(right: dict[str, float], n: int, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Outcomes of contestants of whom exactly this share of n samples is right, each by itself."""
    rng = np.random.default_rng(seed)
    return {name: {"probe": (rng.permutation(n) < round(p * n)).astype(float)} for name, p in right.items()}


def test_shrinks_by_hand() -> None:
    """Noise v = 4 and spread s = 2 are alike: everything moves half the way to the common level, (0 + 4 + 8) / 3 = 4.

    Its variance: s^2 v / (s^2 + v) = 2, and v^2 / ((s^2 + v) K) = 2/3 from the level.
    """
    y = np.array([0.0, 4.0, 8.0])
    theta = pool(around(y, 4 * np.eye(3)), 4 * np.eye(3), np.zeros((DRAWS, 3)), np.full(DRAWS, 2.0))
    np.testing.assert_allclose(theta.mean(axis=0), [2, 4, 6], atol=0.03)
    np.testing.assert_allclose(theta.var(axis=0), 2 + 2 / 3, rtol=0.03)


def test_a_line_moves_the_goal() -> None:
    """On a line of 0, 2, 4 the rests are 0, 2, 4, level 2: half the way to 2, 4, 6."""
    y, line = np.array([0.0, 4.0, 8.0]), np.tile([0.0, 2.0, 4.0], (DRAWS, 1))
    theta = pool(around(y, np.eye(3)), np.eye(3), line, np.ones(DRAWS))
    np.testing.assert_allclose(theta.mean(axis=0), [1, 4, 7], atol=0.02)


def test_agrees_with_the_joint_normal_equations() -> None:
    """theta, a and b of one Gaussian model, solved together, for noise that contestants share."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 6))
    covariance, s = root @ root.T / 6 + 0.1 * np.eye(6), 0.7
    x, y = rng.normal(size=6), rng.normal(size=6) * 2
    design = np.stack([np.ones(6), x], axis=1)
    to_line = np.hstack([np.eye(6), -design]) / s  # (theta - a - b x) / s
    precision = to_line.T @ to_line
    precision[:6, :6] += np.linalg.inv(covariance)
    joint = np.linalg.solve(precision, np.r_[np.linalg.solve(covariance, y), 0, 0])
    exact = np.linalg.inv(precision)
    line = rng.normal(joint[7], np.sqrt(exact[7, 7]), size=DRAWS)[:, None] * x
    theta = pool(around(y, covariance), covariance, line, np.full(DRAWS, s))
    np.testing.assert_allclose(theta.mean(axis=0), joint[:6], atol=0.02)
    np.testing.assert_allclose(np.cov(theta.T), exact[:6, :6], atol=0.03)


def test_eight_schools() -> None:
    """Rubin 1981, in Gelman et al., "Bayesian Data Analysis", section 5.5. Posterior means: the summary printed in
    RStan's vignette "RStan: the R Interface to Stan" (flat tau, 4000 draws; its own errors are up to 0.16).
    """
    y, errors = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    drawn = around(y, np.diag(errors**2))
    level, tau = fit(drawn, np.diag(errors**2), np.ones((8, 1)))
    theta = pool(drawn, np.diag(errors**2), np.zeros((DRAWS, 8)), tau)
    np.testing.assert_allclose(theta.mean(axis=0), [11.32, 8.00, 6.30, 7.77, 5.25, 6.34, 10.61, 8.42], atol=0.4)
    np.testing.assert_allclose(theta.std(axis=0), [8.28, 6.24, 7.54, 6.38, 6.33, 6.82, 6.85, 7.75], rtol=0.06)
    assert tau.mean() == pytest.approx(6.29, abs=0.5)
    assert np.median(tau) == pytest.approx(5.09, abs=0.4)
    assert level.mean() == pytest.approx(8.10, abs=0.3)


def test_slope_and_spread_are_found() -> None:
    """Forty contestants on a line of slope 1.5, spread 0.3, noise 0.1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = 1 + 1.5 * x + 0.3 * rng.normal(size=40) + 0.1 * rng.normal(size=40)
    covariance = 0.01 * np.eye(40)
    coefficients, spread = fit(around(y, covariance, 2000), covariance, np.stack([np.ones(40), x], axis=1))
    assert coefficients.mean(axis=0) == pytest.approx([1, 1.5], abs=0.15)
    assert spread.mean() == pytest.approx(0.3, abs=0.06)


def test_of_samples_that_are_all_right_half_a_one_may_be_wrong() -> None:
    assert log_odds(np.array([0.0, 0.5, 1.0]), 10).tolist() == pytest.approx([np.log(1 / 19), 0, np.log(19)])
    drawn = log_odds(np.ones((100, 2)), 10)
    p = (9.5 + 1) / 12
    assert np.diag(noise(drawn, 10)) == pytest.approx(1 / (10 * p * (1 - p)))


NAMES = "abcdef"
TABLE = dict(zip(NAMES, (0.45, 0.55, 0.62, 0.70, 0.77, 0.84), strict=True))


def test_near_equals_go_by_the_table() -> None:
    """d is one sample of 100 ahead of f; f stands far above in a table that tells the others' shares well."""
    found = shares({"a": 0.5, "b": 0.6, "c": 0.68, "d": 0.84, "e": 0.82, "f": 0.83}, 100)
    plain = standings(found)
    assert plain[0].name == "d"
    assert not plain[0].pooled
    pooled = standings(found, prior=known_before(found, TABLE))
    assert pooled[0].name == "f"
    assert pooled[0].pooled
    expected = {one.name: one.expected for one in pooled}
    assert expected["f"].value > expected["d"].value
    assert 0.74 < expected["f"].low < expected["f"].value < expected["f"].high < 0.91
    assert {one.name: one.scores for one in pooled} == {one.name: one.scores for one in plain}, "of samples alone"


def test_many_samples_have_the_last_word() -> None:
    right = {"a": 0.5, "b": 0.6, "c": 0.68, "d": 0.84, "e": 0.82, "f": 0.83}
    found = shares(right, 20_000)
    pooled = standings(found, prior=known_before(found, TABLE))
    assert [one.name for one in pooled] == sorted(right, key=right.__getitem__, reverse=True)
    assert pooled[0].chance_best > 0.99


def test_a_table_that_says_nothing_changes_little() -> None:
    """Contestants in another order than the table's: what it says is not borne out."""
    right = {"a": 0.84, "b": 0.52, "c": 0.9, "d": 0.6, "e": 0.7, "f": 0.66}
    found = shares(right, 100)
    pooled = standings(found, prior=known_before(found, TABLE))
    assert [one.name for one in pooled] == sorted(right, key=right.__getitem__, reverse=True)


def test_whom_the_table_does_not_know_is_judged_by_samples() -> None:
    found = shares({"a": 0.5, "b": 0.6, "c": 0.68, "d": 0.79, "e": 0.82, "f": 0.83, "new": 0.7}, 100)
    prior = known_before(found, TABLE)
    drawn = np.random.default_rng(0).random((2000, 7))
    judged = prior.pooled("probe", list(found), drawn, 100)
    np.testing.assert_array_equal(judged[:, 6], drawn[:, 6])
    assert not np.allclose(judged[:, 5], drawn[:, 5], atol=0.01)
    assert ((judged > 0) & (judged < 1)).all()
    assert [one.pooled for one in standings(found, prior=prior) if one.name == "new"] == [False]


def test_a_later_round_of_one_whom_the_table_knows() -> None:
    found = shares({"a": 0.5, "b": 0.6, "c": 0.68, "d": 0.79, "e": 0.82, "new": 0.7}, 100)
    prior = known_before(found, TABLE)
    drawn = np.random.default_rng(0).random((2000, 2))
    np.testing.assert_array_equal(prior.pooled("probe", ["a", "new"], drawn, 100), drawn)


def test_a_short_or_level_table_is_none() -> None:
    found = shares(dict(zip(NAMES, (0.5, 0.6, 0.7, 0.8, 0.85, 0.9), strict=True)), 100)
    assert known_before(found, {}) is None
    assert known_before(found, {name: TABLE[name] for name in NAMES[: LEAST - 1]}) is None
    assert known_before(found, dict.fromkeys(NAMES, 0.7)) is None
    assert learn(TABLE, list(NAMES), {"s": np.random.default_rng(0).random((50, 6))}, 100) is not None


def test_nothing_depends_on_the_order_of_contestants() -> None:
    found = shares({"a": 0.5, "b": 0.6, "c": 0.68, "d": 0.84, "e": 0.82, "f": 0.83}, 100)
    back = {name: found[name] for name in reversed(found)}
    one, other = ({s.name: s.rank for s in standings(some, prior=known_before(some, TABLE))} for some in (found, back))
    assert one == pytest.approx(other, abs=0.15)  # other random numbers, same posterior


@pytest.mark.parametrize("n", [1, 2, 30])
def test_where_all_are_right_the_table_is_not_borne_out_and_nobody_stands_out(n: int) -> None:
    found = {name: {"probe": np.ones(n), "knn": np.ones(n)} for name in NAMES}
    pooled = standings(found, prior=known_before(found, TABLE))
    assert all(np.isfinite([one.rank, one.chance_best, one.expected.value]).all() for one in pooled)
    assert sum(one.chance_best for one in pooled) == pytest.approx(1)
    assert max(one.chance_best for one in pooled) < 0.3
    assert all(one.scores["knn"].value == 1 for one in pooled)
