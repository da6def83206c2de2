from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy, multivariate_normal
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from torchgraft.rank import Evidence, n_leep


def as_the_paper_states(evidence: Evidence) -> float:
    """Principal axes by scikit-learn, Bayes' rule over the fitted Gaussians written out, then LEEP by its formula."""
    z = evidence.z.astype(np.float64)
    axes = PCA(0.8, svd_solver="full").fit_transform(z)
    axes = axes / np.sqrt(((z - z.mean(axis=0)) ** 2).sum() / len(z))
    k = min(5 * evidence.n_classes, len(z) // 10)
    model = GaussianMixture(k, covariance_type="diag", reg_covar=1e-6 / axes.shape[1], random_state=evidence.seed)
    model.fit(axes)
    parts = zip(model.weights_, model.means_, model.covariances_, strict=True)
    density = np.stack([w * multivariate_normal(m, np.diag(v)).pdf(axes) for w, m, v in parts], axis=1)
    theta = density / density.sum(axis=1, keepdims=True)
    joint = np.eye(evidence.n_classes)[evidence.y].T @ theta
    return np.log(((joint / joint.sum(axis=0)).T[:, evidence.y].T * theta).sum(axis=1)).mean()


@pytest.mark.parametrize(("n", "d"), [(200, 12), (40, 90)])
def test_is_leep_on_the_posteriors_of_the_mixture(evidence, n, d):
    asked = evidence(n=n, d=d, c=2)
    assert n_leep.score(asked) == pytest.approx(as_the_paper_states(asked), abs=1e-6)


def test_hand_worked():
    """Two tight clusters, far apart: labels that follow them but for one of ten in the second."""
    z = np.repeat([[0.0, 0.0], [100.0, 0.0]], 10, axis=0) + 0.1 * np.random.default_rng(0).normal(size=(20, 2))
    y = np.repeat([0, 1], 10)
    y[-1] = 0
    asked = Evidence(z=z.astype(np.float32), y=y, n_classes=2)
    assert n_leep.score(asked) == pytest.approx((9 * math.log(0.9) + math.log(0.1)) / 20, abs=1e-6)


def test_more_spread_classes_score_higher(evidence):
    scores = [n_leep.score(evidence(n=300, gap=gap)) for gap in (0.0, 2.0, 8.0)]
    assert scores == sorted(scores)
    assert -math.log(4) < scores[0] < scores[2] <= 0


def test_labels_by_lot_score_little_more_than_their_entropy(evidence):
    asked = evidence(n=400, d=100)
    by_lot = np.random.default_rng(1).integers(0, 4, 400)
    score = n_leep.score(Evidence(z=asked.z, y=by_lot, n_classes=4))
    assert 0 < score + entropy(np.bincount(by_lot)) < 0.2


def test_scale_and_place_of_the_features_change_nothing(evidence):
    asked = evidence(n=150)
    moved = Evidence(z=asked.z * 1024 + 512, y=asked.y, n_classes=4, seed=asked.seed)
    assert n_leep.score(moved) == pytest.approx(n_leep.score(asked), abs=1e-3)


def test_the_same_evidence_gives_the_same_bits(evidence):
    asked = evidence(n=300, d=40)
    assert n_leep.score(asked) == n_leep.score(asked)


@pytest.mark.parametrize("n", [1, 2, 19])
def test_fewer_samples_than_two_clusters_need_say_nothing(evidence, n):
    asked = evidence(n=n)
    assert n_leep.score(asked) == pytest.approx(-entropy(np.bincount(asked.y)), abs=1e-12)


def test_features_without_variance_and_with_few_values():
    y = np.arange(60) % 3
    same = Evidence(z=np.full((60, 5), 7.3, dtype=np.float32), y=y, n_classes=3)
    assert n_leep.score(same) == pytest.approx(-math.log(3), abs=1e-12)
    few = Evidence(z=np.eye(3, dtype=np.float32)[y], y=y, n_classes=3)  # six clusters, three different rows
    assert n_leep.score(few) == pytest.approx(0, abs=1e-6)
