from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from torchgraft.align import Domains, kmm


def test_a_domain_with_itself_gets_equal_weights(same):
    aligned = kmm.fit(same, kmm.Options())
    np.testing.assert_allclose(aligned.weights, 1, atol=0.05)
    np.testing.assert_array_equal(aligned.zs, same.xs.astype(np.float32))


def test_weight_goes_where_the_target_is():
    rng = np.random.default_rng(0)
    xs, xt = rng.normal(size=(300, 2)), rng.normal(size=(200, 2)) * 0.6 + [1, 0]
    aligned = kmm.fit(Domains(xs=xs, xt=xt), kmm.Options(bandwidth=0.5))
    before = np.linalg.norm(xs.mean(axis=0) - xt.mean(axis=0))
    after = np.linalg.norm(aligned.weights @ xs / 300 - xt.mean(axis=0))
    assert after < 0.2 * before
    assert aligned.weights.mean() == pytest.approx(1)
    assert "effective sample size" in aligned.note and aligned.effective_size < 250


def test_match_is_the_constrained_minimum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 2)), rng.normal(size=(9, 2)) + 1
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(axis=2) / 2)
    kappa = 12 / 9 * np.exp(-((x[:, None] - y) ** 2).sum(axis=2) / 2).sum(axis=1)

    def value(b):
        return b @ kernel @ b / 2 - kappa @ b

    slack = 12 - np.sqrt(12)
    sums = [
        {"type": "ineq", "fun": lambda b: b.sum() - 12 + slack},
        {"type": "ineq", "fun": lambda b: 12 + slack - b.sum()},
    ]
    for largest in (2.0, 1000.0):
        found = kmm.match(kernel, kappa, largest, 20_000, tolerance=1e-10)
        reference = minimize(
            value, np.ones(12), bounds=[(0, largest)] * 12, constraints=sums, method="SLSQP", options={"ftol": 1e-12}
        )
        assert value(found) == pytest.approx(reference.fun, abs=1e-5)
        assert found.min() >= 0 and found.max() <= largest + 1e-9


def test_hand_worked():
    """Two source samples that know nothing of each other, the target all at the first: K = I, kappa = (2, 0).

    Unconstrained b = (2, 0), whose sum 2 is within 2 -+ (2 - sqrt 2).
    """
    np.testing.assert_allclose(kmm.match(np.eye(2), np.array([2.0, 0]), 1000.0, 1000), [2, 0], atol=1e-6)
    np.testing.assert_allclose(kmm.match(np.eye(2), np.array([0.0, 0]), 1000.0, 1000).sum(), np.sqrt(2), atol=1e-6)


def test_too_many_samples_are_refused(domains, monkeypatch):
    monkeypatch.setattr(kmm, "MOST_SAMPLES", 50)
    assert "90 x 90; at most 50" in kmm.applies(domains)
