from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from torchgraft.core.errors import DataError
from torchgraft.data import IGNORE
from torchgraft.train.dense_counts import confusions


def test_counts_by_hand() -> None:
    labels = np.array([[0, 0, 1], [1, 2, IGNORE]], dtype=np.uint8)
    predicted = np.array([[0, 1, 1], [1, 0, 2]])
    np.testing.assert_array_equal(confusions(labels, predicted, 3), [[1, 1, 0], [0, 2, 0], [1, 0, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_they_are_scikit_learn_s(dtype) -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 200, (40, 50)).astype(dtype), rng.integers(0, 200, (40, 50)).astype(dtype)
    labels[:3] = IGNORE
    keep = labels != IGNORE
    expected = confusion_matrix(labels[keep], predicted[keep], labels=range(200))
    np.testing.assert_array_equal(confusions(labels, predicted, 200), expected)
    assert confusions(labels, labels, 200).sum() == np.trace(confusions(labels, labels, 200)) == keep.sum()


def test_an_image_without_labels_has_no_counts_and_its_answers_may_be_anything() -> None:
    assert not confusions(np.full((2, 2), IGNORE), np.full((2, 2), 77), 3).any()
    assert confusions(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.int64), 3).shape == (3, 3)


@pytest.mark.parametrize(
    ("labels", "predicted", "word"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "one shape"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "float64"),
        (np.full((2, 2), 3), np.zeros((2, 2), int), "labels expect classes in 0..2, got 3 to 3"),
        (np.zeros((2, 2), int), np.full((2, 2), 255), "answers expect"),
        (np.full((2, 2), -1), np.zeros((2, 2), int), "labels expect"),
    ],
)
def test_what_cannot_be_counted_is_refused(labels: np.ndarray, predicted: np.ndarray, word: str) -> None:
    with pytest.raises(DataError, match=word):
        confusions(labels, predicted, 3)
