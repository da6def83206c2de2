from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from torchgraft.rank import Evidence
from torchgraft.rank.gbc import score


def dense(z: np.ndarray, y: np.ndarray) -> float:
    """Distances of Gaussians with full matrices, pair by pair, in scikit-learn's components."""
    z = z.astype(np.float64)
    k = min(64, *z.shape, len(z) - 1)
    z = PCA(k).fit_transform(z)
    total = 0.0
    for i in np.unique(y):
        for j in set(y) - {i}:
            (mi, si), (mj, sj) = ((z[y == c].mean(axis=0), z[y == c].var(axis=0).mean() * np.eye(k)) for c in (i, j))
            s = (si + sj) / 2
            logs = [np.linalg.slogdet(matrix)[1] for matrix in (s, si, sj)]
            distance = (mi - mj) @ np.linalg.solve(s, mi - mj) / 8 + 0.5 * (logs[0] - (logs[1] + logs[2]) / 2)
            total -= np.exp(-distance)
    return total


@pytest.mark.parametrize(("n", "d"), [(120, 10), (300, 100), (40, 90)])
def test_is_the_formula(evidence, n, d):
    given = evidence(n, d, gap=0.5)
    assert score(given) == pytest.approx(dense(given.z, given.y), rel=1e-4)


def test_hand_worked():
    """Means 0 and 4, variances 1 and 4: B = 16 / (8 * 2.5) + ln(2.5 / 2) / 2, counted both ways."""
    z = np.array([[-1.0], [1], [2], [6]], dtype=np.float32)
    given = Evidence(z=z, y=np.array([0, 0, 1, 1]), n_classes=2)
    assert score(given) == pytest.approx(-2 * np.exp(-0.8) / np.sqrt(1.25), rel=1e-6)


def test_scale_shift_and_rotation_do_not_matter(evidence):
    given = evidence(100, 20, gap=0.5)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    moved = Evidence(z=(30 * given.z @ turn + 2).astype(np.float32), y=given.y, n_classes=4)
    assert score(moved) == pytest.approx(score(given), rel=1e-3)


def test_range(evidence):
    assert score(evidence(200, 4, gap=50.0)) == pytest.approx(0, abs=1e-6)
    same = np.tile(np.random.default_rng(0).normal(size=(5, 3)), (3, 1)).astype(np.float32)
    assert score(Evidence(z=same, y=np.repeat(np.arange(3), 5), n_classes=3)) == pytest.approx(-6, abs=1e-6)


def test_a_class_of_one_sample_takes_the_pooled_variance():
    """Variance 1 about 0, and one sample at 4: B = 16 / 8 with variance 1 on both sides. Copies are one sample."""
    for more in ([4.0], [4.0, 4.0, 4.0]):
        z = np.array([-1.0, 1, *more], dtype=np.float32)[:, None]
        given = Evidence(z=z, y=np.array([0, 0] + [1] * len(more)), n_classes=2)
        assert score(given) == pytest.approx(-2 * np.exp(-2), rel=1e-6)


def test_where_nothing_varies():
    points = np.array([[0.0, 0], [1, 0], [1, 0]], dtype=np.float32)
    assert score(Evidence(z=points, y=np.arange(3), n_classes=3)) == pytest.approx(-2)
    assert score(Evidence(z=np.ones((4, 2), dtype=np.float32), y=np.arange(4) % 2, n_classes=2)) == pytest.approx(-2)
    assert score(Evidence(z=points, y=np.zeros(3, dtype=np.int64), n_classes=2)) == 0
