from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from torchgraft.model.softmax import Block, Softmax, spread


def objective(head, z, y, c, weights=None):
    logits = head.logits(z)
    loss = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
    weights = np.ones(len(y)) if weights is None else weights
    return c * float(weights @ loss) + 0.5 * float((head.weight**2).sum())


def solver(z, y, *, weights=None, scale=1.0, classes=None):
    weights = np.ones(len(y)) if weights is None else weights
    return Softmax([Block(z)], [scale], y, weights, classes or int(y.max()) + 1)


def reference(z, y, c, weights=None):
    fitted = LogisticRegression(C=c, tol=1e-9, max_iter=20000).fit(z, y, sample_weight=weights)
    fitted.weight, fitted.bias = fitted.coef_, fitted.intercept_
    fitted.logits = lambda x: x @ fitted.coef_.T + fitted.intercept_
    return fitted


@pytest.mark.parametrize("shape", [(150, 10), (60, 200)])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_same_minimum_as_scikit_learn(blobs, shape, c):
    z, y = blobs(*shape, 4, gap=1.5)
    ours = objective(solver(z, y).solve(c), z.astype(float), y, c)
    theirs = objective(reference(z.astype(float), y, c), z.astype(float), y, c)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_same_coefficients_as_scikit_learn(blobs):
    z, y = blobs(200, 6, 3, gap=1.0)
    head, theirs = solver(z, y).solve(1.0), reference(z.astype(float), y, 1.0)
    np.testing.assert_allclose(head.weight, theirs.coef_, atol=2e-3)
    np.testing.assert_allclose(head.bias, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def test_two_classes_are_scikit_learns_at_twice_c(blobs):
    """Binary logistic regression has one weight vector, softmax two of half its length: 1/4 ||w||^2, not 1/2."""
    z, y = blobs(120, 5, 2, gap=1.0)
    head = solver(z, y).solve(0.5)
    theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000).fit(z.astype(float), y)
    np.testing.assert_allclose(head.weight[1] - head.weight[0], theirs.coef_[0], atol=2e-3)


def test_sample_weights(blobs):
    z, y = blobs(120, 8, 3, gap=1.0)
    weights = np.random.default_rng(0).uniform(0.2, 3.0, 120)
    ours = objective(solver(z, y, weights=weights).solve(2.0), z.astype(float), y, 2.0, weights)
    theirs = objective(reference(z.astype(float), y, 2.0, weights), z.astype(float), y, 2.0, weights)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_sparse_and_dense_have_one_minimum(blobs):
    z, y = blobs(150, 12, 3, gap=1.5)
    z = np.where(np.abs(z) > 0.5, z, 0).astype(np.float32)
    dense = solver(z, y).solve(10.0)
    thin = solver(sparse.csr_matrix(z), y).solve(10.0)
    assert objective(thin, z, y, 10.0) == pytest.approx(objective(dense, z, y, 10.0), rel=1e-5)


def test_blocks_side_by_side_are_one_matrix(blobs):
    z, y = blobs(100, 10, 3)
    whole = solver(z, y).solve(5.0)
    blocks = [Block(z[:, :4]), Block(sparse.csr_matrix(z[:, 4:]))]
    split = Softmax(blocks, [1.0, 1.0], y, np.ones(100), 3).solve(5.0)
    np.testing.assert_allclose(split.logits(z), whole.logits(z), atol=5e-3)


def test_scale_is_taken_into_the_head(blobs):
    z, y = blobs(100, 6, 3)
    outside = solver(3 * z, y).solve(1.0)
    inside = solver(z, y, scale=3.0).solve(1.0)
    np.testing.assert_allclose(inside.logits(z), outside.logits(3 * z), atol=2e-3)


def test_gradient_is_that_of_the_loss(blobs):
    z, y = blobs(30, 5, 3)
    one = solver(z, y)
    theta = np.random.default_rng(0).normal(size=one.theta.shape)
    _, gradient = one._loss(theta)
    for i, k in ((0, 0), (3, 2), (5, 1)):
        step = np.zeros_like(theta)
        step[i, k] = 1e-2
        slope = (one._loss(theta + step)[0] - one._loss(theta - step)[0]) / 2e-2
        assert gradient[i, k] == pytest.approx(slope, abs=1e-4)


def test_warm_start_ends_where_the_cold_one_does(blobs):
    z, y = blobs(150, 10, 4)
    warm, cold = solver(z, y), solver(z, y)
    for c in (0.1, 1.0, 10.0):
        warm.solve(c)
    cold.solve(10.0)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-5)


def test_no_columns_give_the_class_shares():
    y = np.array([0, 0, 0, 1])
    head = solver(sparse.csr_matrix((4, 0), dtype=np.float32), y).solve(1.0)
    p = np.exp(head.bias) / np.exp(head.bias).sum()
    np.testing.assert_allclose(p, [0.75, 0.25], atol=1e-3)


def test_one_class_only():
    head = solver(np.ones((3, 2), dtype=np.float32), np.array([1, 1, 1]), classes=3).solve(1.0)
    logits = head.logits(np.ones((1, 2)))
    assert logits.argmax() == 1
    assert np.isfinite(logits).all()


def test_spread_keeps_absent_classes_below_one_in_n():
    head = spread(np.array([[5.0], [-1.0]]), np.array([2.0, 0.0]), np.array([0, 2]), 3, 9)
    logits = head.logits(np.array([[0.0], [10.0], [-10.0]]))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits[:, [0, 2]].sum(axis=1), 0, atol=1e-9)
    assert (p[:, 1] < 1 / 10).all()
