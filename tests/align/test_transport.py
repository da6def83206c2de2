from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from torchgraft.align._transport import entropic_plan


def in_the_log_domain(cost, a, b, epsilon, rounds=4000):
    f, g = np.zeros(len(a)), np.zeros(len(b))
    for _ in range(rounds):
        f = epsilon * (np.log(a) - logsumexp((g - cost) / epsilon, axis=1))
        g = epsilon * (np.log(b) - logsumexp((f[:, None] - cost) / epsilon, axis=0))
    return np.exp((f[:, None] + g - cost) / epsilon)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 2)), rng.normal(size=(9, 2)) + 1
    cost = ((x[:, None] - y) ** 2).sum(axis=2)
    return cost, np.full(7, 1 / 7), np.full(9, 1 / 9)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 5.0])
def test_agrees_with_plain_iterations_in_the_log_domain(problem, epsilon):
    cost, a, b = problem
    found = entropic_plan(cost, a, b, epsilon, tolerance=1e-10, limit=50_000)
    np.testing.assert_allclose(found, in_the_log_domain(cost, a, b, epsilon), atol=1e-8)


def test_marginals(problem):
    cost, a, b = problem
    found = entropic_plan(cost, a, b, 0.2)
    np.testing.assert_allclose(found.sum(axis=1), a, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=0), b, atol=1e-6)


def test_large_entropy_gives_the_product(problem):
    cost, a, b = problem
    np.testing.assert_allclose(entropic_plan(cost, a, b, 1e6), np.outer(a, b), atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_hardly_any_entropy_gives_the_best_assignment(scale):
    """exp(-cost / epsilon) is 0 in float64 everywhere; the plan is finite and the assignment's."""
    rng = np.random.default_rng(1)
    cost = scale * rng.uniform(1, 2, size=(8, 8))
    share = np.full(8, 1 / 8)
    found = entropic_plan(cost, share, share, 5e-4 * scale, limit=20_000)
    rows, columns = linear_sum_assignment(cost)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found.argmax(axis=1), columns[np.argsort(rows)])


def test_hand_worked_two_by_two():
    """Cost 1 off the diagonal: entries 1/2 e / (e + 1) on it, at epsilon 1."""
    found = entropic_plan(1 - np.eye(2), np.full(2, 0.5), np.full(2, 0.5), 1.0)
    on = 0.5 * np.e / (np.e + 1)
    np.testing.assert_allclose(found, [[on, 0.5 - on], [0.5 - on, on]], atol=1e-7)
