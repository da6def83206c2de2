from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from torchgraft.core.errors import DataError
from torchgraft.model import adjust, estimate_prior

HALF = np.array([0.5, 0.5])


def gaussian(n: int, share: float, seed: int = 0, gap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """n x 1 draws, `share` of them from N(+gap, 1), the rest from N(-gap, 1), and their classes."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return rng.normal(np.where(y == 1, gap, -gap)), y


def posterior(x: np.ndarray, prior: np.ndarray, gap: float = 1.0) -> np.ndarray:
    """The true class probabilities of draws of `gaussian`."""
    joint = np.stack([prior[0] * norm.pdf(x, -gap), prior[1] * norm.pdf(x, gap)], axis=1)
    return joint / joint.sum(1, keepdims=True)


def test_no_shift_gives_the_prior_back() -> None:
    prior = np.array([0.3, 0.7])
    p = np.array([[0.1, 0.9], [0.5, 0.5], [0.3, 0.7]])  # their mean is the prior
    found = estimate_prior(p, prior)
    np.testing.assert_allclose(found.prior, prior, atol=1e-12)
    np.testing.assert_allclose(found.adjusted, p, atol=1e-12)
    assert found.iterations == 1


def test_calibrated_probabilities_without_shift_move_little() -> None:
    x, y = gaussian(5000, 0.3)
    found = estimate_prior(posterior(x, np.array([0.7, 0.3])), np.array([0.7, 0.3]))
    assert abs(found.prior[1] - y.mean()) < 0.02


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_shift_from_even_is_found(share: float) -> None:
    x, _ = gaussian(5000, share)
    found = estimate_prior(posterior(x, HALF), HALF)
    assert abs(found.prior[1] - share) < 0.02
    np.testing.assert_allclose(found.adjusted, posterior(x, found.prior), atol=1e-9)
    np.testing.assert_allclose(found.adjusted.mean(0), found.prior, atol=1e-8)


def test_it_is_the_maximum_of_the_likelihood() -> None:
    """EM climbs log prod_n sum_c p_nc q_c / pi_c: here against a search over q."""
    x, _ = gaussian(400, 0.2, seed=3)
    p, prior = posterior(x, np.array([0.6, 0.4])), np.array([0.6, 0.4])
    best = minimize_scalar(
        lambda q: -np.log(p @ (np.array([1 - q, q]) / prior)).sum(),
        bounds=(1e-6, 1 - 1e-6),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert estimate_prior(p, prior).prior[1] == pytest.approx(best.x, abs=1e-5)


def test_adjusting_helps_and_can_be_undone() -> None:
    x, y = gaussian(5000, 0.1)
    p = posterior(x, HALF)
    found = estimate_prior(p, HALF)
    assert (found.adjusted.argmax(1) == y).mean() > (p.argmax(1) == y).mean() + 0.03
    np.testing.assert_allclose(adjust(found.adjusted, found.prior, HALF), p, atol=1e-12)


def test_adjusting_by_hand() -> None:
    np.testing.assert_allclose(adjust(np.array([[0.5, 0.5]]), HALF, np.array([0.9, 0.1])), [[0.9, 0.1]])
    np.testing.assert_allclose(adjust(np.array([[0.2, 0.8]]), HALF, np.array([0.8, 0.2])), [[0.5, 0.5]])


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.integers(1, 20), st.integers(0, 99))
def test_results_are_probabilities(weights: list[float], n: int, seed: int) -> None:
    prior = np.array(weights) / sum(weights)
    p = np.random.default_rng(seed).dirichlet(np.ones(3), size=n)
    found = estimate_prior(p, prior)
    assert found.prior.sum() == pytest.approx(1)
    assert (found.prior >= 0).all()
    np.testing.assert_allclose(found.adjusted.sum(1), 1)
    np.testing.assert_allclose(adjust(p, prior, prior), p, atol=1e-12)


def test_one_class_and_one_sample() -> None:
    found = estimate_prior(np.ones((4, 1)), np.ones(1))
    assert found.prior.tolist() == [1.0]
    assert estimate_prior(np.array([[1.0, 0.0]]), HALF).prior.tolist() == [1.0, 0.0]


def test_sure_predictions_are_counted() -> None:
    p = np.eye(2)[[0, 0, 0, 1]]
    np.testing.assert_allclose(estimate_prior(p, HALF).prior, [0.75, 0.25])


def test_a_class_that_training_lacked_stays_away() -> None:
    found = estimate_prior(np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]]), np.array([0.5, 0.5, 0.0]))
    assert found.prior[2] == 0
    assert np.isfinite(found.adjusted).all()


def test_a_sample_of_an_impossible_class_keeps_its_probabilities() -> None:
    assert adjust(np.array([[0.0, 1.0]]), HALF, np.array([1.0, 0.0])).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("p", "prior", "words"),
    [
        (np.zeros((0, 2)), HALF, "at least one sample"),
        (np.ones(2) / 2, HALF, "N x C"),
        (np.array([[2.0, -1.0]]), HALF, "softmax"),
        (np.array([[0.5, 0.5], [np.nan, 1.0]]), HALF, "First: row 1"),
        (np.array([[0.5, 0.6]]), HALF, "1 of 1 rows"),
        (np.array([[0.5, 0.5]]), np.ones(3) / 3, "2 class frequencies"),
        (np.array([[0.5, 0.5]]), np.array([0.5, 0.9]), "sum to 1"),
        (np.array([[0.5, 0.5]]), np.array([np.nan, 1.0]), "sum to 1"),
    ],
)
def test_what_is_no_probability_is_an_error(p: np.ndarray, prior: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        estimate_prior(p, prior)
    with pytest.raises(DataError, match=words):
        adjust(p, prior, HALF)
