from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train import select
from torchgraft.train._select_clusters import _classified, _halves, clustered


def blobs(per_class, centres, spread=0.1, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(centres)), per_class)
    return np.asarray(centres, float)[y] + rng.normal(size=(len(y), len(centres[0]))) * spread, y


def lloyd(z, means, rounds=100):
    """K-means written out."""
    for _ in range(rounds):
        labels = np.linalg.norm(z[:, None] - means, axis=2).argmin(axis=1)
        means = np.stack([z[labels == k].mean(axis=0) for k in range(len(means))])
    return labels


def test_clusters_that_are_classes_agree():
    z, y = blobs(20, [[5, 0, 0], [0, 5, 0], [0, 0, 5]])
    found = select.clusters_agree(z, y, 3)
    assert (found.kmeans, found.classifier, found.agree) == (1.0, 1.0, True)


def test_long_classes_side_by_side_do_not_agree():
    """Two bands: k-means cuts them across, a classifier does not. What happened on amazon_reviews."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 200)
    z = np.stack([np.where(y == 0, -1, 1) + rng.normal(size=400) * 0.2, rng.normal(size=400) * 20], axis=1)
    found = select.clusters_agree(z, y, 2, normalise=False)
    assert found.classifier > 0.95
    assert found.kmeans < 0.7
    assert not found.agree


def test_hand_worked():
    """0, 1 | 10, 11 and one sample of class 0 at 12: whichever half it is in, k-means of that half gets it wrong."""
    z, y = np.array([[0.0], [1], [0], [12], [10], [11], [10], [11]]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = select.clusters_agree(z, y, 2, normalise=False)
    assert found.kmeans == pytest.approx((1 + 3 / 4) / 2)


def test_kmeans_is_lloyd_s():
    z, _ = blobs(40, [[0, 0], [1.5, 0], [0, 1.5]], spread=0.6)
    start = z[[0, 50, 100]]
    assert np.array_equal(clustered(z, start), lloyd(z, start))


def test_the_classifier_is_linear_discriminants_under_shrinkage():
    """Against scikit-learn's with the shrinkage that Ledoit and Wolf's formula gives for the pooled rows."""
    from sklearn.covariance import ledoit_wolf

    z, y = blobs([30, 50, 20], [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], spread=0.8)
    means = np.stack([z[y == c].mean(axis=0) for c in range(3)])
    shrinkage = ledoit_wolf(z - means[y], assume_centered=True)[1]
    covariance = (1 - shrinkage) * np.cov((z - means[y]).T, ddof=0)
    covariance += shrinkage * np.trace(np.cov((z - means[y]).T, ddof=0)) / 4 * np.eye(4)
    reference = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_Fixed(covariance)).fit(z, y)
    other = np.random.default_rng(1).normal(size=(200, 4))
    # scikit-learn averages covariances of classes; a fixed one is the same for all
    assert (_classified(z, y, other) == reference.predict(other)).mean() == 1


class _Fixed:
    def __init__(self, covariance):
        self.covariance_ = covariance

    def fit(self, z):
        return self


def test_halves_split_every_class():
    y = np.repeat([0, 1, 2, 3], [2, 3, 9, 3])
    for seed in range(5):
        first = _halves(y, np.random.default_rng(seed))
        assert np.bincount(y[first]).tolist() == [1, 2, 4, 2]


def test_a_class_of_one_is_left_out_and_names_do_not_matter():
    z, y = blobs([1, 10, 0, 12], [[9, 9], [5, 0], [0, 0], [0, 5]])
    found = select.clusters_agree(z, y, 6)
    assert (found.kmeans, found.classifier) == (1.0, 1.0)


def test_rows_of_zeros_and_equal_rows():
    found = select.clusters_agree(np.zeros((8, 3)), np.repeat([0, 1], 4), 2)
    assert 0 <= found.kmeans <= 1
    assert found.classifier == 0.5


def test_the_margin_decides():
    assert select.ClusterTest(kmeans=0.9, classifier=0.93, margin=0.03).agree
    assert not select.ClusterTest(kmeans=0.89, classifier=0.93, margin=0.03).agree
    assert select.ClusterTest(kmeans=0.99, classifier=0.93, margin=0.0).agree


def test_the_seed_decides_the_halves():
    z, y = blobs(30, [[0.0, 0], [1, 0]], spread=0.7)
    assert select.clusters_agree(z, y, 2, 1) == select.clusters_agree(z, y, 2, 1)
    assert len({select.clusters_agree(z, y, 2, seed, normalise=False).classifier for seed in range(5)}) > 1


def test_faults():
    with pytest.raises(DataError, match=r"y_s expects class indices in 0..1.*samples, got z_s 6, y_s 5"):
        select.clusters_agree(np.ones((6, 2)), [0, 1, 2, 0, 1], 2)
    with pytest.raises(DataError, match="2 classes or more"):
        select.clusters_agree(np.ones((4, 2)), [0, 0, 0, 1], 2)
    with pytest.raises(OptionError, match="margin"):
        select.clusters_agree(np.ones((4, 2)), [0, 0, 1, 1], 2, margin=3)
