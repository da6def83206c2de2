from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from torchgraft.features.mapping import L2
from torchgraft.tune import knn


def test_best_k_agrees_with_scikit_learn(blobs):
    z, y = blobs(60, 5, 3, gap=1.5)
    z = L2().transform(z)
    neighbours = (1, 3, 5, 9, 15)
    scores = [
        cross_val_score(KNeighborsClassifier(k, metric="cosine"), z, y, cv=LeaveOneOut()).mean() for k in neighbours
    ]
    k = knn.best_k(z, y, 3, neighbours)
    assert scores[neighbours.index(k)] == max(scores)


def test_logits_agree_with_scikit_learn(dense_problem):
    candidate = knn.fit(dense_problem, knn.Options(neighbours=(5,)))
    z = dense_problem.blocks["packaged/net"]
    fit, held = dense_problem.folds[0]
    reference = KNeighborsClassifier(5, metric="cosine").fit(z[fit], dense_problem.y[fit])
    votes = reference.predict_proba(z[held]) * 5
    np.testing.assert_allclose(np.exp(candidate.logits[: len(held)]), (votes + 1 / 4) / 6, atol=1e-6)


def test_hand_worked_choice_of_k():
    """Two tight pairs of one class and a lone sample between: with k = 1 all pairs are right, with k = 3 none is."""
    z = L2().transform(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32))
    assert knn.best_k(z, np.array([0, 0, 1, 1]), 2, (1, 3)) == 1


def test_of_equals_the_larger_k_wins(blobs):
    z, y = blobs(40, 6, 2, gap=40.0)
    assert knn.best_k(L2().transform(z), y, 2, (1, 3, 5)) == 5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hardly_any_samples(n):
    z = np.eye(3, dtype=np.float32)[:n]
    assert knn.best_k(z, np.arange(n) % 2, 2, (1, 5, 20)) == 1


def test_many_samples_ask_a_part(blobs):
    z, y = blobs(300, 6, 3)
    z = L2().transform(z)
    ks = [knn.best_k(z, y, 3, (1, 3, 5), seed=0, limit=50) for _ in range(2)]
    assert ks[0] == ks[1]
