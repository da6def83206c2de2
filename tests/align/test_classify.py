from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from torchgraft.align._classify import (
    PENALTIES,
    Logistic,
    centroid_head,
    centroid_scale,
    joined,
    nearest,
    spread,
    stacked,
)


@pytest.mark.parametrize("rows", [10, 1024])
def test_nearest_is_scikit_learns(domains, rows):
    reference = KNeighborsClassifier(1).fit(domains.xs, domains.ys).predict(domains.xt)
    np.testing.assert_array_equal(nearest(domains.xs, domains.ys, domains.xt, rows=rows), reference)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_is_scikit_learns_on_scaled_features(domains, classes):
    y = domains.ys % classes
    head = Logistic(domains.xs, classes).fit(domains.xs, y, 10.0)
    scaled = (domains.xs - domains.xs.mean(axis=0)) / np.sqrt(domains.xs.var(axis=0).sum())
    reference = LogisticRegression(C=10.0, tol=1e-3, max_iter=300).fit(scaled, y).predict_proba(scaled)
    logits = head.logits(domains.xs)
    ours = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(ours, reference, atol=1e-6)


def test_weights_stand_for_copies(domains):
    weights = np.where(domains.ys == 0, 2.0, 1.0)
    twice = np.concatenate([np.arange(90), np.flatnonzero(domains.ys == 0)])
    model = Logistic(domains.xs, 3)
    one = model.fit(domains.xs, domains.ys, 1.0, weights).logits(domains.xt)
    two = model.fit(domains.xs[twice], domains.ys[twice], 1.0).logits(domains.xt)
    np.testing.assert_allclose(one, two, atol=0.02)


def test_the_penalty_is_the_strongest_that_the_evidence_allows(make_shifted):
    """Labels that have nothing to do with the features ask for the strongest; clear classes for a weaker one."""
    xs, ys, _, _ = make_shifted(300, 6, 3)
    model = Logistic(xs, 3)
    assert model.choose(xs, np.random.default_rng(0).permutation(ys)) == PENALTIES[0]
    assert model.choose(xs, ys) > PENALTIES[0]


def test_a_single_class_no_columns_and_few_samples():
    z = np.zeros((4, 0))
    logits = Logistic(z, 3).fit(z, np.array([0, 0, 0, 2]), 1.0).logits(z)
    assert (logits.argmax(axis=1) == 0).all()
    assert logits[0, 0] - logits[0, 2] == pytest.approx(np.log(3))
    one = np.ones((2, 2))
    assert (Logistic(one, 3).fit(one, np.array([1, 1]), 1.0).logits(one).argmax(axis=1) == 1).all()
    assert Logistic(one, 2).choose(one, np.array([0, 1])) == 1.0


def test_spread_hand_worked():
    head = spread(np.array([[2.0], [0]]), np.array([1.0, 0]), np.array([0, 2]), 3, 9)
    np.testing.assert_allclose(head.weight, [[1], [0], [-1]])
    np.testing.assert_allclose(head.bias, [0.5, -np.log(10), -0.5])


def test_centroid_head_is_the_distance(domains):
    start = np.array([[0.0] * 6, [1.0] * 6])
    logits = centroid_head(start, np.array([0, 1]), 2, 0.5, 10).logits(domains.xt)
    gaps = ((domains.xt[:, None] - start) ** 2).sum(axis=2)
    np.testing.assert_allclose(logits[:, 0] - logits[:, 1], 0.5 * (gaps[:, 1] - gaps[:, 0]), rtol=1e-9)


def test_centroid_scale_hand_worked():
    """Distances differ by 1 and three of four are right: softmax of `scale` is 3/4, so scale = ln 3."""
    z = np.array([[0.0], [0.0], [0.0], [0.0]])
    found = centroid_scale(np.array([[0.0], [1.0]]), z, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(np.log(3), rel=1e-3)


def test_joined_and_stacked_hand_worked():
    z, beside = np.array([[1, 2], [3, 4]], dtype=np.float32), sparse.csr_matrix([[0, 5.0], [6, 0]])
    plain = joined(z, None)
    assert isinstance(plain, np.ndarray) and plain.dtype == np.float64
    both = joined(z, beside)
    assert both.format == "csr" and both.dtype == np.float64
    np.testing.assert_array_equal(both.toarray(), [[1, 2, 0, 5], [3, 4, 6, 0]])
    np.testing.assert_array_equal(stacked(plain, plain[:1]), [[1, 2], [3, 4], [1, 2]])
    on_top = stacked(both, both[1:])
    assert on_top.format == "csr"
    np.testing.assert_array_equal(on_top.toarray(), [[1, 2, 0, 5], [3, 4, 6, 0], [3, 4, 6, 0]])


@pytest.mark.parametrize("classes", [2, 3])
def test_sparse_logistic_is_scikit_learns_on_scaled_rows(domains, classes):
    """Scaled to total variance 1, but not centred: centred rows would be dense."""
    y = domains.ys % classes
    rows = joined(domains.xs, sparse.random(90, 20, density=0.1, format="csr", random_state=0))
    head = Logistic(rows, classes).fit(rows, y, 10.0)
    scaled = rows / np.sqrt(rows.toarray().var(axis=0).sum())
    reference = LogisticRegression(C=10.0, tol=1e-3, max_iter=300).fit(scaled, y).predict_proba(scaled)
    logits = head.logits(rows)
    ours = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(ours, reference, atol=1e-6)


def test_sparse_and_dense_rows_are_one_problem(domains):
    """On centred rows both do the same: the penalty, the head, and what it says of the target."""
    centred = domains.xs - domains.xs.mean(axis=0)
    heads, penalties = [], []
    for rows in (centred, sparse.csr_matrix(centred)):
        model = Logistic(rows, 3)
        penalties.append(model.choose(rows, domains.ys))
        heads.append(model.fit(rows, domains.ys, 3.0, np.linspace(0.5, 1.5, 90)))
    assert penalties[0] == penalties[1]
    np.testing.assert_allclose(heads[0].logits(domains.xt), heads[1].logits(domains.xt), atol=1e-2)


def test_sparse_rows_of_zeros_and_a_single_class():
    nothing = sparse.csr_matrix((6, 3))
    logits = Logistic(nothing, 2).fit(nothing, np.array([0, 0, 0, 0, 1, 1]), 1.0).logits(nothing)
    assert (logits.argmax(axis=1) == 0).all()
    one = Logistic(nothing, 3).fit(nothing, np.full(6, 2), 1.0).logits(nothing)
    assert (one.argmax(axis=1) == 2).all()
