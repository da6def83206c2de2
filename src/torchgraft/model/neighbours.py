"""Votes of the nearest among the other samples: what kNN would say of each sample, had it not seen that one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CHUNK = 512  # rows at once: memory stays flat whatever N is


def leave_one_out(
    z: np.ndarray, y: np.ndarray, n_classes: int, neighbours: Sequence[int], asked: np.ndarray | None = None
) -> np.ndarray:
    """M x K of whether the vote of the k nearest others is right, for the M rows `asked` and each of K k's.

    `z` holds N rows of length 1 (the nearest has the largest dot product), `y` classes in 0..n_classes-1, `asked`
    positions in 0..N-1 (None: all N). `neighbours` ascends, 1 <= k < N. Of classes with equal votes the first wins.
    """
    asked = np.arange(len(z)) if asked is None else asked
    right = np.empty((len(asked), len(neighbours)), dtype=bool)
    for start in range(0, len(asked), _CHUNK):
        rows = asked[start : start + _CHUNK]
        right[start : start + _CHUNK] = _right(z, y, rows, n_classes, neighbours)
    return right


def _right(z: np.ndarray, y: np.ndarray, rows: np.ndarray, n_classes: int, neighbours: Sequence[int]) -> np.ndarray:
    similar = z[rows] @ z.T
    similar[np.arange(len(rows)), rows] = -np.inf
    far = neighbours[-1]
    near = np.argpartition(-similar, far - 1, axis=1)[:, :far]
    order = np.argsort(-np.take_along_axis(similar, near, axis=1), axis=1, kind="stable")
    labels = y[np.take_along_axis(near, order, axis=1)]
    votes = np.cumsum(labels[:, :, None] == np.arange(n_classes), axis=1)  # rows x k x C
    return np.stack([votes[:, k - 1].argmax(axis=1) == y[rows] for k in neighbours], axis=1)
