"""Folds for scores that hold samples out: every class is spread as evenly as it can be."""

from __future__ import annotations

import numpy as np

from torchgraft.core.errors import DataError


def folds(y: np.ndarray, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """`k` pairs of rows (to fit on, held out) of N labels, both ascending; each row is held out once.

    The rows of a class are shuffled and dealt out one fold after the other, so that the folds' sizes differ by one at
    most, and so do the rows of a class in each. A class of two or more is never held out as a whole; the only sample
    of a class is. Fewer than `k` rows give a fold each. Raises `DataError` for less than two rows or folds.
    """
    n = len(y)
    if n < 2 or k < 2:
        raise DataError(f"folds need at least 2 samples and 2 folds, got {n} and {k}.")
    shuffled = np.random.default_rng(seed).permutation(n)
    dealt = shuffled[np.argsort(y[shuffled], kind="stable")]  # class after class, each in random order
    fold = np.empty(n, dtype=np.int64)
    fold[dealt] = np.arange(n) % min(k, n)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(min(k, n))]
