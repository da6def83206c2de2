from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from torchgraft.rank import Evidence
from torchgraft.rank.h_score import score


def dense(z: np.ndarray, y: np.ndarray, *, shrunk: bool = True) -> float:
    """tr(pinv(S_a) (1 - a) cov(E[z | y])) with scikit-learn's covariance."""
    z = z.astype(np.float64)
    means = np.stack([z[y == c].mean(axis=0) for c in y])
    between = np.cov(means, rowvar=False, ddof=0)
    if not shrunk:
        return float(np.trace(np.linalg.pinv(np.cov(z, rowvar=False, ddof=0), rcond=1e-12, hermitian=True) @ between))
    fitted = LedoitWolf().fit(z)
    return float((1 - fitted.shrinkage_) * np.trace(np.linalg.pinv(fitted.covariance_) @ between))


@pytest.mark.parametrize(("n", "d"), [(150, 10), (30, 80)])
def test_is_the_dense_formula(evidence, n, d):
    given = evidence(n, d, gap=1.0)
    assert score(given) == pytest.approx(dense(given.z, given.y), rel=1e-5)


def test_hand_worked():
    """z = -2, 0, 1, 1 of two classes: S = 3/2, means -1 and 1, S_b = 1; in one dimension nothing is shrunk."""
    given = Evidence(z=np.array([[-2.0], [0], [1], [1]], dtype=np.float32), y=np.array([0, 0, 1, 1]), n_classes=2)
    assert score(given) == pytest.approx(2 / 3)


def test_scale_shift_and_rotation_do_not_matter(evidence):
    given = evidence(60, 20)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    moved = Evidence(z=(50 * given.z @ turn + 3).astype(np.float32), y=given.y, n_classes=4)
    assert score(moved) == pytest.approx(score(given), rel=1e-4)


def test_lies_between_none_and_all(evidence):
    scores = [score(evidence(300, 8, gap=gap)) for gap in (0.0, 1.0, 3.0, 200.0)]
    assert scores == sorted(scores)
    assert scores[0] > 0
    assert 2.8 < scores[-1] <= 3


def test_the_plain_one_is_full_for_noise():
    """Where D reaches N the plain H-score is C - 1 for any features at all; ours is near 0 for noise."""
    z = np.random.default_rng(0).normal(size=(40, 100)).astype(np.float32)
    y = np.arange(40) % 4
    assert dense(z, y, shrunk=False) == pytest.approx(3)
    assert score(Evidence(z=z, y=y, n_classes=4)) < 0.5


def test_constant_features_and_one_class():
    z = np.ones((6, 3), dtype=np.float32)
    assert score(Evidence(z=z, y=np.arange(6) % 2, n_classes=2)) == 0
    z = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    assert score(Evidence(z=z, y=np.zeros(6, dtype=np.int64), n_classes=2)) == pytest.approx(0, abs=1e-12)
