from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import normalize

from torchgraft.core.errors import DataError
from torchgraft.data import folds
from torchgraft.rank import Evidence
from torchgraft.rank.lda import outcomes, score


class Pooled:
    """scikit-learn's Ledoit-Wolf covariance of the rows within classes, for its own discriminant analysis."""

    def __init__(self, y: np.ndarray) -> None:
        self.y = y

    def fit(self, z: np.ndarray) -> np.ndarray:
        within = z - np.stack([z[self.y == c].mean(axis=0) for c in range(self.y.max() + 1)])[self.y]
        return LedoitWolf(assume_centered=True).fit(within).covariance_


@pytest.mark.parametrize(("n", "d"), [(120, 8), (60, 90)])
def test_is_a_dense_discriminant(evidence, n, d):
    given = evidence(n, d, gap=0.4, seed=2)
    z, y = normalize(given.z.astype(np.float64)), given.y
    right = np.zeros(n)
    for fit, held in folds(y, seed=given.seed, k=5):
        inverse = np.linalg.inv(Pooled(y[fit]).fit(z[fit]))
        means = np.stack([z[fit][y[fit] == c].mean(axis=0) for c in range(4)])
        logits = z[held] @ inverse @ means.T - 0.5 * np.diag(means @ inverse @ means.T) + np.log(np.bincount(y[fit]))
        right[held] = logits.argmax(axis=1) == y[held]
    np.testing.assert_array_equal(outcomes(given), right)
    assert 0.3 < score(given) < 1


def test_agrees_with_scikit_learn_where_samples_are_many(evidence):
    """With N >> D the shrinkage vanishes, and both are Fisher's rule."""
    given = evidence(3000, 5, gap=1.0)
    z, y = normalize(given.z.astype(np.float64)), given.y
    right = np.zeros(len(y))
    for fit, held in folds(y, seed=given.seed, k=5, max_rows=len(y)):
        right[held] = LinearDiscriminantAnalysis().fit(z[fit], y[fit]).predict(z[held]) == y[held]
    assert (outcomes(given) == right).mean() > 0.99


def test_hand_worked():
    """Five copies of two rows: no class varies, and a row lies on the mean of its own."""
    z = np.tile(np.eye(2, dtype=np.float32), (5, 1)) * 3
    given = Evidence(z=z, y=np.arange(10) % 2, n_classes=2)
    assert score(given) == 1
    np.testing.assert_array_equal(outcomes(Evidence(z=z, y=np.arange(10) % 2, n_classes=7)), np.ones(10))


def test_length_does_not_matter_and_the_seed_draws_the_folds(evidence):
    given = evidence(gap=0.5)
    length = np.random.default_rng(2).uniform(0.5, 2, size=(120, 1)).astype(np.float32)
    again = Evidence(z=given.z * length, y=given.y, n_classes=4, seed=given.seed)
    np.testing.assert_array_equal(outcomes(given), outcomes(again))
    others = [score(Evidence(z=given.z, y=given.y, n_classes=4, seed=seed)) for seed in range(5)]
    assert len(set(others)) > 1


def test_constant_features_and_lone_classes():
    z = np.ones((12, 3), dtype=np.float32)
    assert score(Evidence(z=z, y=np.arange(12) % 3 // 2, n_classes=2)) == pytest.approx(2 / 3)  # the larger class
    lone = Evidence(z=z, y=np.array([0] * 11 + [1]), n_classes=2)
    assert outcomes(lone).tolist() == [1.0] * 11 + [0.0], "what can't be held out is not right"
    with pytest.raises(DataError, match="no class has a second sample"):
        score(Evidence(z=z, y=np.arange(12), n_classes=12))
