from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from torchgraft.rank import Evidence
from torchgraft.rank.nearest_mean import outcomes, score


@pytest.mark.parametrize(("n", "d"), [(90, 8), (30, 50)])
def test_is_scikit_learns_nearest_centroid_left_out(evidence, n, d):
    given = evidence(n, d, gap=1.0)
    z = normalize(given.z.astype(np.float64))
    predicted = cross_val_predict(NearestCentroid(), z, given.y, cv=LeaveOneOut())
    np.testing.assert_array_equal(outcomes(given), predicted == given.y)
    assert 0.3 < score(given) < 1


def test_hand_worked():
    """On the circle, at 0, 90 | 180, 170 | 80 degrees: 90 is nearest to 80, 0 to 90, and 80 is alone."""
    angles = np.deg2rad([0, 90, 180, 170, 80])
    z = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * [[1], [5], [2], [3], [1]]
    given = Evidence(z=z, y=np.array([0, 0, 1, 1, 2]), n_classes=4)
    np.testing.assert_array_equal(outcomes(given), [0, 0, 1, 1, 0])
    assert score(given) == pytest.approx(0.4)


def test_length_and_rotation_do_not_matter(evidence):
    given = evidence()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0]
    length = np.random.default_rng(2).uniform(0.5, 2, size=(120, 1))
    other = Evidence(z=(given.z * length @ turn).astype(np.float32), y=given.y, n_classes=4)
    np.testing.assert_array_equal(outcomes(given), outcomes(other))


def test_one_class_is_always_right_and_one_sample_never():
    z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert score(Evidence(z=z, y=np.full(5, 1), n_classes=3)) == 1
    assert score(Evidence(z=z[:1], y=np.zeros(1, dtype=np.int64), n_classes=1)) == 0
    assert score(Evidence(z=z, y=np.arange(5), n_classes=5)) == 0


def test_rows_of_zeros_are_no_error():
    given = Evidence(z=np.zeros((4, 3), dtype=np.float32), y=np.array([0, 1, 0, 1]), n_classes=2)
    np.testing.assert_array_equal(outcomes(given), [1, 0, 1, 0])
