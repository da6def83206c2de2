"""The leading principal axes of one domain, or of both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh

from torchgraft.align._moments import covariance, mean_of, scatter

_LARGE = 2e9
"""N D^2 from which a covariance is summed in float32 first: under it there is nothing to gain."""

_RANGE = 1e-3
"""The least variance of a wanted axis, as a share of the largest, for which that is precise enough."""


def leading_axes(
    x: np.ndarray, k: int, scale: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """At most k orthonormal principal axes (D x k) of N x D rows over `scale` (D,), largest variance first.

    `weights` (N,) is what each row counts (None: all alike).
    Only the wanted eigenvectors of the smaller Gram matrix are computed; axes without variance are left out. For how
    precise they are with many rows see `axes_of`.
    """
    if x.shape[1] > len(x):
        return _wide_axes(x, k, scale, weights)
    return axes_of(lambda kind: covariance(x, scale=scale, weights=weights, kind=kind), k, x.shape)


def joint_axes(xs: np.ndarray, xt: np.ndarray, k: int) -> np.ndarray:
    """As `leading_axes`, of the rows of both domains together; they are not copied into one array."""
    n, m, d = len(xs), len(xt), xs.shape[1]
    if d > n + m:
        return _wide_axes(np.concatenate([xs, xt]), k)
    gap = xs.mean(axis=0) - xt.mean(axis=0)
    between = n * m / (n + m) * np.outer(gap, gap)
    return axes_of(lambda kind: scatter(xs, kind=kind) + scatter(xt, kind=kind) + between, k, (n + m, d))


def axes_of(matrix: Callable[[type[np.floating]], np.ndarray], k: int, shape: tuple[int, int]) -> np.ndarray:
    """At most k leading eigenvectors (D x k) of the D x D matrix that `matrix` sums in the type it is given.

    `shape` is N x D, how much there is to sum. Where that is a lot, and the variances of the k axes lie within 1 to
    1000, float32 sums stand: each axis is then within 1e-7 times (largest variance / distance to the next variance).
    """
    n, d = shape
    if n * d**2 > _LARGE and k <= d // 4:
        with np.errstate(over="ignore", invalid="ignore"):
            rough = matrix(np.float32)
        if np.isfinite(rough).all():
            values, vectors = _largest(rough, k)
            if values[-1] > _RANGE * values[0] > np.finfo(np.float32).tiny:
                return vectors
    values, vectors = _largest(matrix(np.float64), k)
    return vectors[:, values > 1e-10 * max(values[0], 1e-300)]


def _largest(gram: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    k = min(k, len(gram))
    top = [len(gram) - k, len(gram) - 1]
    values, vectors = eigh(gram.T, subset_by_index=top, overwrite_a=True, check_finite=False)  # .T: in place
    return values[::-1], vectors[:, ::-1]


def _wide_axes(x: np.ndarray, k: int, scale: np.ndarray | None = None, weights: np.ndarray | None = None) -> np.ndarray:
    """By the N x N Gram matrix, for D > N."""
    centred = (x - mean_of(x, weights)) / (1.0 if scale is None else scale)
    if weights is not None:
        centred *= np.sqrt(weights)[:, None]
    values, vectors = _largest(centred @ centred.T, k)
    keep = values > 1e-10 * max(values[0], 1e-300)
    return (centred.T @ vectors[:, keep]) / np.sqrt(values[keep])
