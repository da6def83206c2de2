"""Means, covariances and powers of them: what the linear alignments are made of."""

from __future__ import annotations

import numpy as np

from torchgraft.align.base import Domains
from torchgraft.features.mapping import Standardise

WIDEST = 5000
"""D that is still tried where a D x D covariance is needed: 200 MB a matrix."""


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
    centred = x - mean
    if weights is None:
        return Standardise.of(mean, np.sqrt(np.einsum("nd,nd->d", centred, centred) / len(x)))
    return Standardise.of(mean, np.sqrt(np.einsum("n,nd,nd->d", weights, centred, centred) / weights.sum()))


def covariance(
    x: np.ndarray, ridge: float = 0.0, scale: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """D x D sample covariance (divided by N - 1) of rows whose columns are divided by `scale`, + ridge I.

    With `weights` w (N,) the divisor is sum w - sum w^2 / sum w, which is N - 1 where all are 1.
    """
    centred = x - mean_of(x, weights)
    if weights is None:
        found = centred.T @ centred / max(len(x) - 1, 1)
    else:
        total = weights.sum()
        found = (centred * weights[:, None]).T @ centred / max(total - (weights**2).sum() / total, 1e-12)
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
