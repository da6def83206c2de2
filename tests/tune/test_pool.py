from __future__ import annotations

import numpy as np
import pytest

from torchgraft.model.graft import assemble
from torchgraft.tune import lda, pool, tfidf


def test_is_the_weighted_sum_of_its_experts(text_problem):
    candidate = pool.fit(text_problem, pool.Options())
    experts = [lda.fit(text_problem, lda.Options()), tfidf.fit(text_problem, tfidf.Options())]
    got = candidate.head.logits(assemble(candidate.parts, text_problem.blocks))
    apart = [e.head.logits(assemble(e.parts, text_problem.blocks)).ravel() for e in experts]
    factors, *_ = np.linalg.lstsq(np.stack(apart, axis=1), got.ravel(), rcond=None)
    np.testing.assert_allclose(np.stack(apart, axis=1) @ factors, got.ravel(), atol=1e-4)
    assert (factors > 0).all()
    assert set(candidate.chosen["shares"]) == {"packaged/net", "text"}


def test_equal_experts_get_equal_shares():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    shares = pool.pool_shares(y, [logits, logits], np.ones(50))
    assert shares[0] == pytest.approx(shares[1], rel=1e-4)


def test_the_better_expert_gets_more():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 500)
    good = np.eye(3)[y] * 2 + rng.normal(size=(500, 3))
    noise = rng.normal(size=(500, 3))
    shares = pool.pool_shares(y, [good, noise], np.ones(500))
    assert shares[0] > 4 * shares[1] > 0


def test_few_samples_change_little():
    shares = pool.pool_shares(np.array([0, 1]), [np.eye(2), -np.eye(2)], np.ones(2))
    np.testing.assert_allclose(shares, 0.5, rtol=0.1)


def test_needs_two_experts(dense_problem, make_problem):
    assert "alone" in pool.applies(dense_problem)
    assert "no backbone" in pool.applies(make_problem({"text": ["a", "b"] * 6}, np.arange(12) % 2))
    blank = {**dense_problem.blocks, "text": ["..."] * 120}
    assert "alone" in pool.applies(make_problem(blank, dense_problem.y))
