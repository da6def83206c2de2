"""Means, covariances and powers of them: what the linear alignments are made of."""

from __future__ import annotations

import numpy as np

from torchgraft.align.base import Domains
from torchgraft.features.mapping import Standardise

WIDEST = 5000
"""D that is still tried where a D x D covariance is needed: 200 MB a matrix."""

_BLOCK = 2048
"""Rows whose products are summed at once: what is held beside the data, and what float32 may have to sum."""


def needs_covariance(domains: Domains) -> str:
    """`applies` of a method that works on D x D covariances."""
    d = domains.dimension
    return (
        "" if d <= WIDEST else f"its covariances are {d} x {d}; at most {WIDEST} features are tried, reduce them first"
    )


def mean_of(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean (D,) of N x D rows that count `weights` (N,), or all alike."""
    return x.mean(axis=0) if weights is None else weights @ x / weights.sum()


def scaling(x: np.ndarray, wanted: bool, weights: np.ndarray | None = None) -> Standardise:
    """What brings the columns of N x D rows to mean 0, and to variance 1 where that is `wanted`."""
    mean = mean_of(x, weights)
    if not wanted:
        return Standardise(mean.astype(np.float32), np.ones(len(mean), dtype=np.float32))
    counts = np.ones(len(x)) if weights is None else weights
    squares = np.zeros(len(mean))
    for i in range(0, len(x), _BLOCK):
        centred = x[i : i + _BLOCK] - mean
        squares += np.einsum("n,nd,nd->d", counts[i : i + _BLOCK], centred, centred)
    return Standardise.of(mean, np.sqrt(squares / counts.sum()))


def scatter(x: np.ndarray, weights: np.ndarray | None = None, kind: type[np.floating] = np.float64) -> np.ndarray:
    """sum_n w_n (x_n - m) (x_n - m)^T, D x D in float64, of N x D rows and their (weighted) mean m.

    With float32 as `kind` the products of 2048 rows at a time are summed in it, in half the time: the result is within
    about 1e-7 of the largest eigenvalue.
    """
    mean, total = mean_of(x, weights), np.zeros((x.shape[1], x.shape[1]))
    for i in range(0, len(x), _BLOCK):
        centred = x[i : i + _BLOCK] - mean
        if weights is not None:
            centred *= np.sqrt(weights[i : i + _BLOCK])[:, None]
        centred = centred.astype(kind, copy=False)
        total += centred.T @ centred
    return total


def covariance(
    x: np.ndarray,
    ridge: float = 0.0,
    scale: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    kind: type[np.floating] = np.float64,
) -> np.ndarray:
    """D x D sample covariance (divided by N - 1) of rows whose columns are divided by `scale`, + ridge I.

    With `weights` w (N,) the divisor is sum w - sum w^2 / sum w, which is N - 1 where all are 1. `kind`: see
    `scatter`.
    """
    total = len(x) if weights is None else weights.sum()
    squares = len(x) if weights is None else (weights**2).sum()
    found = scatter(x, weights, kind)
    found /= max(total - squares / total, 1e-12)
    if scale is not None:
        scale = np.asarray(scale, dtype=np.float64)  # the square of a small one is 0 in float32
        found /= np.outer(scale, scale)
    found.flat[:: len(found) + 1] += ridge
    return found


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A symmetric power of a positive semi-definite matrix; directions under 1e-10 of the largest give 0."""
    values, axes = np.linalg.eigh(matrix)
    keep = values > 1e-10 * max(values[-1], 1e-300)
    axes = axes[:, keep]
    return (axes * values[keep] ** exponent) @ axes.T
