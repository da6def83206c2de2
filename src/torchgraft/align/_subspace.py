"""The leading principal axes of one domain."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from torchgraft.align._moments import covariance, mean_of


def leading_axes(
    x: np.ndarray, k: int, scale: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """At most k orthonormal principal axes (D x k) of N x D rows over `scale` (D,), largest variance first.

    `weights` (N,) is what each row counts (None: all alike).
    Only the wanted eigenvectors of the smaller Gram matrix are computed; axes without variance are left out.
    """
    wide = x.shape[1] > len(x)
    centred = (x - mean_of(x, weights)) / (1.0 if scale is None else scale) if wide else None
    if wide and weights is not None:
        centred *= np.sqrt(weights)[:, None]
    gram = centred @ centred.T if wide else covariance(x, scale=scale, weights=weights)
    k = min(k, len(gram))
    values, vectors = eigh(gram, subset_by_index=[len(gram) - k, len(gram) - 1])
    keep = values > 1e-10 * max(values[-1], 1e-300)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    return (centred.T @ vectors) / np.sqrt(values) if wide else vectors
