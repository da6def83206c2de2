from __future__ import annotations

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.rank._folds import folds


def test_each_row_is_held_out_once():
    y = np.random.default_rng(0).integers(0, 7, 103)
    parts = folds(y, 5, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in parts])), np.arange(103))
    for fit, held in parts:
        np.testing.assert_array_equal(np.sort(np.concatenate([fit, held])), np.arange(103))
        assert (np.diff(fit) > 0).all()
        assert (np.diff(held) > 0).all()


def test_classes_are_spread_evenly():
    y = np.repeat(np.arange(4), [50, 13, 4, 2])
    parts = folds(y, 5, 3)
    counts = np.array([np.bincount(y[held], minlength=4) for _, held in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert all(set(y[fit]) == {0, 1, 2, 3} for fit, _ in parts)


def test_the_only_sample_of_a_class_is_held_out():
    y = np.array([0, 0, 0, 1, 0, 0])
    assert [1 in y[fit] for fit, held in folds(y, 3, 0)] == [3 not in held for _, held in folds(y, 3, 0)]


def test_the_seed_decides():
    y = np.arange(60) % 3
    first, again, other = (np.concatenate([held for _, held in folds(y, 5, seed)]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_few_rows():
    assert sorted(held.tolist() for _, held in folds(np.array([0, 1, 0]), 5, 0)) == [[0], [1], [2]]
    with pytest.raises(DataError, match="at least 2 samples"):
        folds(np.array([0]), 5, 0)
    with pytest.raises(DataError, match="2 folds"):
        folds(np.array([0, 1]), 1, 0)
