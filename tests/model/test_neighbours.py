"""Votes of the nearest others, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from torchgraft.model.neighbours import leave_one_out


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_a_sample_does_not_vote_for_itself() -> None:
    z, y = unit(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])), np.array([0, 1, 1])
    # 0's nearest is 1 (wrong), 1's nearest is 0 (wrong), 2's nearest is 1 (right)
    assert leave_one_out(z, y, 2, [1]).ravel().tolist() == [False, False, True]


def test_equal_votes_go_to_the_first_class() -> None:
    z, y = unit(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.2]])), np.array([1, 0, 1])
    # with two neighbours sample 0 (class 1) hears 0 and 1: class 0 wins; sample 2 likewise
    assert leave_one_out(z, y, 2, [2])[:, 0].tolist() == [False, False, False]


@pytest.mark.parametrize("k", [1, 3, 7])
def test_agrees_with_scikit_learn(blobs, k: int) -> None:
    z, y = blobs(600, 8, 2, gap=1.0)
    z = unit(z.astype(np.float64))
    said = cross_val_predict(KNeighborsClassifier(k, algorithm="brute"), z, y, cv=LeaveOneOut())
    np.testing.assert_array_equal(leave_one_out(z, y, 2, [1, 3, 7])[:, [1, 3, 7].index(k)], said == y)


def test_some_rows_are_asked_against_all(blobs) -> None:
    z, y = blobs(90, 6, 3)
    z, rows = unit(z), np.array([4, 50, 89])
    np.testing.assert_array_equal(leave_one_out(z, y, 3, [3], rows), leave_one_out(z, y, 3, [3])[rows])
