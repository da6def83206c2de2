"""kNN as a score: against scikit-learn, by hand, and at its edges."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from torchgraft.rank import Evidence, knn


def test_it_is_the_best_leave_one_out_accuracy(evidence) -> None:
    given = evidence(n=80, c=2, gap=0.8)
    unit = given.z.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    reference = max(
        cross_val_score(KNeighborsClassifier(k, algorithm="brute"), unit, given.y, cv=LeaveOneOut()).mean()
        for k in (1, 3, 5)  # odd: with two classes no vote is level
    )
    assert reference <= knn.score(given) <= reference + 0.05  # 10, 20 and 50 may do better


def test_by_hand() -> None:
    z = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.05]], dtype=np.float32)
    given = Evidence(z=z, y=np.array([0, 0, 1, 1, 1]), n_classes=2)
    assert knn.outcomes(given).tolist() == [0, 0, 1, 1, 0]  # the last one lies among those of class 0


def test_length_does_not_matter(evidence) -> None:
    given = evidence()
    stretched = Evidence(
        z=given.z * np.linspace(1, 9, len(given.z), dtype=np.float32)[:, None], y=given.y, n_classes=given.n_classes
    )
    np.testing.assert_array_equal(knn.outcomes(given), knn.outcomes(stretched))


def test_one_sample_has_no_neighbour() -> None:
    assert knn.score(Evidence(z=np.ones((1, 2), np.float32), y=np.zeros(1, dtype=int), n_classes=1)) == 0.0


def test_separated_classes_are_all_right(evidence) -> None:
    assert knn.score(evidence(gap=50.0)) == 1.0
