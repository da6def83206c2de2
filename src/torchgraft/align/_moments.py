"""Means, covariances and powers of them: what the linear alignments are made of."""

from __future__ import annotations

import numpy as np

from torchgraft.features.mapping import Chain, Mapping, Standardise


def covariance(x: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """D x D sample covariance (divided by N - 1) + ridge I."""
    centred = x - x.mean(axis=0)
    found = centred.T @ centred / max(len(x) - 1, 1)
    found.flat[:: len(found) + 1] += ridge
    return found


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A symmetric power of a positive semi-definite matrix; directions under 1e-10 of the largest give 0."""
    values, axes = np.linalg.eigh(matrix)
    keep = values > 1e-10 * max(values[-1], 1e-300)
    axes = axes[:, keep]
    return (axes * values[keep] ** exponent) @ axes.T


def standardised(x: np.ndarray, wanted: bool) -> tuple[np.ndarray, tuple[Mapping, ...]]:
    """Rows with each column at mean 0 and variance 1, and the mapping that does it; or as they came, and none."""
    if not wanted:
        return x, ()
    mapping = Standardise.fit(x)
    return (x - mapping.mean.astype(np.float64)) / mapping.scale.astype(np.float64), (mapping,)


def chained(*mappings: Mapping) -> Mapping:
    """One mapping of several."""
    return mappings[0] if len(mappings) == 1 else Chain(mappings)
