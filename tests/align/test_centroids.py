from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestCentroid

from torchgraft.align import Domains, centroids

PLAIN = centroids.Options(normalise=False)


def test_without_rounds_it_is_the_nearest_mean(domains):
    aligned = centroids.fit(domains, centroids.Options(rounds=0, normalise=False))
    reference = NearestCentroid().fit(domains.xs, domains.ys).predict(domains.xt)
    np.testing.assert_array_equal(aligned.head.logits(aligned.zt).argmax(axis=1), reference)


def test_is_scikit_learns_k_means_from_the_class_means(domains):
    aligned = centroids.fit(domains, PLAIN)
    start = np.stack([domains.xs[domains.ys == c].mean(axis=0) for c in range(3)])
    reference = KMeans(3, init=start, n_init=1, algorithm="lloyd", tol=0).fit(domains.xt)
    np.testing.assert_array_equal(aligned.head.logits(aligned.zt).argmax(axis=1), reference.labels_)


def test_a_domain_with_itself_keeps_its_classes(same):
    aligned = centroids.fit(same, PLAIN)
    np.testing.assert_array_equal(aligned.zs, same.xs.astype(np.float32))
    assert (aligned.head.logits(aligned.zt).argmax(axis=1) == same.ys).mean() > 0.95


def test_hand_worked():
    """Means 0 and 4: 2.9, 2.9, 9.1, 9.1 all join 4, which moves to 6; then 0, which stayed, gets the near ones."""
    pair = Domains(
        xs=np.array([[-1.0], [1], [3], [5]]), ys=np.array([0, 0, 1, 1]), xt=np.array([[2.9], [2.9], [9.1], [9.1]])
    )
    found, rounds = centroids.lloyd(pair.xt, np.array([[0.0], [4.0]]), 100)
    np.testing.assert_allclose(found, [[2.9], [9.1]])
    assert rounds == 2
    assert (centroids.fit(pair, PLAIN).head.logits(pair.xt).argmax(axis=1) == [0, 0, 1, 1]).all()


def test_an_empty_cluster_stays():
    found, _ = centroids.lloyd(np.array([[5.0], [5.0]]), np.array([[5.0], [-50]]), 10)
    np.testing.assert_array_equal(found, [[5], [-50]])


def test_aligned_means_undo_a_shift(make_shifted):
    xs, ys, _, _ = make_shifted()
    far = Domains(xs=xs, ys=ys, xt=xs + 50)
    right = [
        (aligned.head.logits(aligned.zt).argmax(axis=1) == ys).mean()
        for aligned in (centroids.fit(far, centroids.Options(align_means=a)) for a in (False, True))
    ]
    assert right[1] > 0.95 > right[0]


def test_is_no_surer_than_right(make_shifted):
    xs, ys, _, _ = make_shifted(300, 4, 3, gap=2.0)
    aligned = centroids.fit(Domains(xs=xs, ys=ys, xt=xs), centroids.Options(rounds=0, normalise=False))
    logits = aligned.head.logits(xs)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    assert p.max(axis=1).mean() == pytest.approx((logits.argmax(axis=1) == ys).mean(), abs=0.05)
