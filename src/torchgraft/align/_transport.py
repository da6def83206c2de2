"""Entropic optimal transport between two sets of samples, stable for any regularisation (Cuturi 2013)."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

_LIMIT = 1e100  # scalings beyond this are taken up by the potentials, long before float64 ends


def entropic_plan(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray, epsilon: float, *, tolerance: float = 1e-6, limit: int = 1000
) -> np.ndarray:
    """Argmin over plans T (n x m, row sums `a`, column sums `b`) of <T, cost> + epsilon sum T (log T - 1).

    T = exp((f_i + g_j - cost_ij) / epsilon). Sinkhorn's scalings u, v multiply a kernel that already holds f and g;
    where they grow, f and g are set afresh in the log domain, so nothing under- or overflows (Schmitzer 2019). Ends
    when the row sums are within `tolerance` of `a` in sum, or after `limit` rounds; column sums are exact.
    """
    f, g = np.zeros(len(a)), np.zeros(len(b))
    log_a, log_b = np.log(a), np.log(b)
    for done in range(0, limit, 10):
        f += epsilon * log_a - epsilon * _log_sums(f, g, cost, epsilon, axis=1)
        g += epsilon * log_b - epsilon * _log_sums(f, g, cost, epsilon, axis=0)
        kernel = np.exp((f[:, None] + g - cost) / epsilon)
        u, v, gap = _scale(kernel, a, b, tolerance, limit - done)
        if gap is not None:
            return kernel * u[:, None] * v
        f, g = f + epsilon * np.log(u), g + epsilon * np.log(v)
    g += epsilon * log_b - epsilon * _log_sums(f, g, cost, epsilon, axis=0)
    return np.exp((f[:, None] + g - cost) / epsilon)


def _log_sums(f: np.ndarray, g: np.ndarray, cost: np.ndarray, epsilon: float, axis: int) -> np.ndarray:
    return logsumexp((f[:, None] + g - cost) / epsilon, axis=axis)


def _scale(
    kernel: np.ndarray, a: np.ndarray, b: np.ndarray, tolerance: float, limit: int
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Scalings u, v of a kernel and the gap left in the rows; the gap is None where they had to be taken up early."""
    u, v = np.ones(len(a)), np.ones(len(b))
    gap = float("inf")
    for i in range(limit):
        sums = kernel @ v
        if i % 10 == 0:
            gap = float(np.abs(u * sums - a).sum())
            if gap <= tolerance:
                return u, v, gap
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            fresh_u = a / sums
            fresh_v = b / (kernel.T @ fresh_u)
        extremes = np.concatenate([fresh_u, fresh_v])
        if not np.isfinite(extremes).all() or extremes.max() > _LIMIT or extremes.min() < 1 / _LIMIT:
            return u, v, None
        u, v = fresh_u, fresh_v
    return u, v, gap
